# SIMULATOR: what the maas-proxy unit does before squid.
pre_start() {
    for folder in /var/cache/maas-proxy /var/log/maas/proxy /var/spool/maas-proxy; do
        install -d -o proxy -g proxy -m 750 "$folder"
    done
    if [ -f /var/lib/maas/maas-proxy.conf ] && [ ! -d /var/cache/maas-proxy/00 ]; then
        /usr/sbin/squid -z -d 5 -N -f /var/lib/maas/maas-proxy.conf
    fi
}
