urlpatterns = ()
