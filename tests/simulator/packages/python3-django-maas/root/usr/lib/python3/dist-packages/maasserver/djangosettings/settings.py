"""Django settings from regiond.conf (MAAS_REGION_CONFIG moves it)."""

from maasserver.config import RegionConfiguration
from provisioningserver import files, paths

try:
    with RegionConfiguration.open() as config:
        DATABASES = {
            "default": {
                "ENGINE": "django.db.backends.postgresql_psycopg2",
                "NAME": config.database_name,
                "USER": config.database_user,
                "PASSWORD": config.database_pass,
                "HOST": config.database_host,
                "PORT": str(config.database_port),
                "CONN_MAX_AGE": config.database_conn_max_age,
                "OPTIONS": {
                    "keepalives": int(config.database_keepalive),
                    "keepalives_idle": config.database_keepalive_idle,
                    "keepalives_interval": config.database_keepalive_interval,
                    "keepalives_count": config.database_keepalive_count,
                    "application_name": "maas-regiond-" + (files.read_if_present(paths.data("maas_id")) or "NO_ID"),
                },
            }
        }
        DEBUG = config.debug
except Exception:  # as MAAS does: without the file there is no database
    DATABASES = {}
    DEBUG = False

DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
INSTALLED_APPS = (
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.sites",
    "maasserver",
    "metadataserver",
    "piston3",
)
LANGUAGE_CODE = "en-us"
MIDDLEWARE = ()
MIGRATION_MODULES = {
    "auth": "maasserver.migrations.auth",
    "piston3": "maasserver.migrations.piston3",
    "maasserver": "maasserver.migrations.maasserver",
    "metadataserver": "metadataserver.migrations",
}
ROOT_URLCONF = "maasserver.djangosettings.urls"
SECRET_KEY = "<UNUSED>"
SITE_ID = 1
TIME_ZONE = "UTC"
USE_TZ = True
