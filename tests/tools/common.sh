# Sourced by the scripts beside it. Messages go to stderr: stdout belongs to a script's answer.
# shellcheck shell=sh

# Where an engine of our own, its log and the logs of builds live.
STATE=${MAAS_INIT_STATE:-/var/lib/maas-init-test}

say() {
    printf '%s\n' "$*" >&2
}

die() {
    say "cannot $*"
    exit 1
}

# need COMMAND PACKAGE...: install the packages if the command is missing.
need() {
    command -v "$1" > /dev/null 2>&1 || {
        shift
        install_packages "$@"
    }
}

install_packages() {
    [ "$(id -u)" = 0 ] || die "go on without the packages $*: install them, or run this as root"
    say "Installing $* ..."
    mkdir -p "$STATE"
    DEBIAN_FRONTEND=noninteractive
    export DEBIAN_FRONTEND
    {
        apt-get update && apt-get install -y --no-install-recommends "$@"
    } > "$STATE/apt.log" 2>&1 < /dev/null || {
        tail -n 20 "$STATE/apt.log" >&2
        die "install $* (the whole output is in $STATE/apt.log)"
    }
}
