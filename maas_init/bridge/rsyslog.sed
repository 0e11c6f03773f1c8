# What regiond writes for rsyslogd, made fit for a user other than root and a container without a journal: no change
# of user, and what was meant for the journal goes to the container's log.
# No line waits for a name server to tell the sender's name.
1i global(net.enableDNS="off")
# The listener's own question (probes.py) is answered in a file of its own.
1i template(name="maas-init-probe" type="string" string="%msg%\\n")
1i if $programname == "maas-init-probe" then { action(type="omfile" file="/run/maas-init/syslog.probe" template="maas-init-probe") stop }
1i template(name="maas-init" type="string" string="%fromhost-ip% %syslogtag%%msg:::sp-if-no-1st-sp%%msg:::drop-last-lf%\\n")
/^\$PrivDrop/d
/^\$FileOwner/d
/^\$FileGroup/d
/module(load="omjournal")/d
s|action(type="omjournal"[^)]*)|action(type="omfile" file="/dev/stdout" template="maas-init")|
