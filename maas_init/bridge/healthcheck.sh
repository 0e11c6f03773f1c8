#!/bin/sh
# Docker's HEALTHCHECK: prints how the container is; exit 0 when it is healthy or degraded, 1 when it is not.
# Reads one line that the health listener writes every few seconds: "LEVEL UPTIME SUMMARY". No program is started.
file=${MAAS_INIT_HEALTH:-/run/maas-init/health}
oldest=${MAAS_INIT_HEALTH_OLDEST:-30} # seconds; the listener writes every 5

if ! [ -r "$file" ] || ! read -r level written summary < "$file"; then
    echo "unhealthy: $file is not there yet: maas-init is still starting, or is not running"
    exit 1
fi
case $written in
    '' | *[!0-9]* | 0[0-9]* | ?????????????*)
        echo "unhealthy: cannot understand $file"
        exit 1
        ;;
esac
# Uptime and not the time of day: a step of the clock neither hides nor invents a stale file.
read -r uptime _ < /proc/uptime
age=$((${uptime%%.*} - written))
if [ "$age" -lt -1 ]; then
    echo "unhealthy: $file is from before this machine was started"
    exit 1
fi
if [ "$age" -gt "$oldest" ]; then
    echo "unhealthy: the health listener has said nothing for $age s; last: $level: $summary"
    exit 1
fi
echo "$level: $summary"
case $level in
    healthy | degraded) exit 0 ;;
    *) exit 1 ;;
esac
