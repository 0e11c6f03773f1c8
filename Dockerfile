# MAAS in one unprivileged container.
#
#   docker build -t truenas-maas:3.5 .                        MAAS from its PPA, on Ubuntu 22.04
#   docker build -t truenas-maas:dev --target development .   the same with debugging tools
#   make image                                                either, also without the PPA (see tests/tools/image)
#
# Works with the classic builder of Docker 20.10 as well as with BuildKit: no --mount, no here-documents.
# The layers go from what changes least to what changes most: distribution, MAAS, Python libraries, maas-init.

ARG BASE_IMAGE=ubuntu:22.04


# ---- The distribution's part: every daemon and tool, none of MAAS. The one heavy download. ----

FROM ${BASE_IMAGE} AS distribution

ARG DEBIAN_FRONTEND=noninteractive

# Nothing may start during the build, no database cluster may be made, and documentation stays out.
RUN set -eu; \
    printf '#!/bin/sh\nexit 101\n' > /usr/sbin/policy-rc.d; \
    chmod 0755 /usr/sbin/policy-rc.d; \
    mkdir -p /etc/postgresql-common/createcluster.d; \
    echo 'create_main_cluster = false' > /etc/postgresql-common/createcluster.d/maas-init.conf; \
    printf 'path-exclude=/usr/share/%s/*\n' doc info locale man > /etc/dpkg/dpkg.cfg.d/maas-init; \
    echo 'path-include=/usr/share/doc/*/copyright' >> /etc/dpkg/dpkg.cfg.d/maas-init; \
    echo 'Acquire::Retries "3";' > /etc/apt/apt.conf.d/80maas-init

# What MAAS depends on and what it runs without saying so: procps, iproute2, net-tools (arp), bind9-dnsutils
# (nsupdate), nmap, ipmitool. libnss-wrapper gives any uid a name (configure/users.py). Then PostgreSQL for
# POSTGRES_HOST=embedded, and curl, dig and nc for people.
# The last lines remove what must not be the same in every container (keys, machine id), then everything that
# could raise a process's privileges; maas-init's own copy of setpriv is the only one that may.
RUN set -eu; \
    apt-get update; \
    apt-get install -y --no-install-recommends \
        adduser amtterm avahi-utils bind9 bind9-dnsutils bind9-utils bind9utils ca-certificates chrony curl \
        distro-info freeipmi-tools grub-common ipmitool iproute2 iputils-ping isc-dhcp-client isc-dhcp-server \
        libcap2-bin libnss-wrapper libvirt-clients lshw lsb-release net-tools netcat-openbsd nginx nginx-core nmap \
        openssh-client openssl postgresql procps pxelinux python3 python3-apt python3-dateutil python3-distro-info \
        python3-django python3-httplib2 python3-netaddr python3-psycopg2 python3-requests python3-uvloop \
        python3-yaml rsyslog squid syslinux-common tcpdump tzdata util-linux wget; \
    if apt-cache show wsmancli > /dev/null 2>&1; then apt-get install -y --no-install-recommends wsmancli; fi; \
    rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/cache/debconf/*-old /var/log/apt /var/log/dpkg.log; \
    rm -f /etc/bind/rndc.key /etc/ssl/private/ssl-cert-snakeoil.key /etc/ssl/certs/ssl-cert-snakeoil.pem \
        /var/lib/dbus/machine-id; \
    : > /etc/machine-id; \
    find / -xdev -type f -perm /6000 -exec chmod a-s {} +; \
    getcap -r /usr | cut -d ' ' -f 1 | xargs --no-run-if-empty -n 1 setcap -r; \
    install -D -m 0755 /usr/bin/setpriv /usr/lib/maas-init/setpriv; \
    setcap cap_net_raw,cap_net_bind_service+p /usr/lib/maas-init/setpriv


# ---- Where MAAS's packages come from ----

FROM distribution AS source

ARG DEBIAN_FRONTEND=noninteractive
ARG MAAS_VERSION=3.5
# ppa: from Canonical's archive of that version. local: the .deb files in packages/.
ARG MAAS_PACKAGES=ppa
ARG MAAS_PPA=https://ppa.launchpadcontent.net/maas/${MAAS_VERSION}/ubuntu
# The key "Launchpad PPA for MAAS", which signs all of MAAS's archives there, by its full fingerprint.
ARG MAAS_PPA_KEY=3AB6DCF1F234E78DAA9C104204E7FDC5684D4A1C

# build-host/ may hold a certificate bundle (ca.crt) for networks that need their own. It stays in this stage.
COPY packages/README.md packages/trust-key build-host* /build/
RUN set -eu; \
    mkdir -p /out/sources.list.d /out/keyrings; \
    [ "$MAAS_PACKAGES" = ppa ] || exit 0; \
    . /etc/os-release; \
    if [ "$VERSION_CODENAME" != jammy ]; then \
        echo "MAAS $MAAS_VERSION is packaged for Ubuntu 22.04 only, and this base is $PRETTY_NAME." >&2; \
        echo "Use BASE_IMAGE=ubuntu:22.04, or MAAS_PACKAGES=local with .deb files in packages/." >&2; \
        exit 1; \
    fi; \
    apt-get update; \
    apt-get install -y --no-install-recommends gpg; \
    if [ -f /build/ca.crt ]; then export CURL_CA_BUNDLE=/build/ca.crt; fi; \
    curl --fail --silent --show-error --location --retry 3 --max-time 60 --output /tmp/key.asc \
        "https://keyserver.ubuntu.com/pks/lookup?op=get&options=mr&search=0x$MAAS_PPA_KEY"; \
    /build/trust-key /tmp/key.asc "$MAAS_PPA_KEY" /out/keyrings/maas.gpg; \
    echo "deb [signed-by=/etc/apt/keyrings/maas.gpg] $MAAS_PPA jammy main" > /out/sources.list.d/maas.list


# ---- MAAS on the distribution ----

FROM distribution AS maas

ARG DEBIAN_FRONTEND=noninteractive
ARG MAAS_VERSION=3.5
ARG MAAS_PACKAGES=ppa
ARG MAAS_UID=568
ARG MAAS_GID=568

COPY --from=source /out/ /etc/apt/
COPY packages/ /tmp/packages/
COPY supervisord.conf.d/units.sha256 /tmp/

# The user comes first, so that MAAS's packages find it and make none of their own.
# Never the metapackage `maas`: it brings a database of its own. Local packages are installed without the network
# when all they depend on is there already.
# The units and sudoers files they bring must be those that supervisord.conf.d/ was written for.
# Afterwards: what the packages generated here must not be shared by every container (DNS keys, empty configuration
# files), and the packaged content of what a container fills itself is kept: of the volumes, which may begin empty, and
# of what any user writes to, in a container whose root file system may be read-only: that lies below /run and /tmp.
# The volumes belong to maas and to group 0, which has the owner's rights: a new volume begins as a copy, and uids
# that the image does not know come with that group (docs/how-to/any-user.md).
RUN set -eu; \
    groupadd --gid "$MAAS_GID" maas; \
    useradd --system --uid "$MAAS_UID" --gid maas --home-dir /var/lib/maas --no-create-home \
        --shell /bin/bash --comment MAAS maas; \
    case "$MAAS_PACKAGES" in \
    ppa) \
        apt-get update; \
        apt-get install -y --no-install-recommends maas-region-api maas-rack-controller ;; \
    local) \
        if ! ls /tmp/packages/*.deb > /dev/null 2>&1; then \
            echo "MAAS_PACKAGES=local, but there is no .deb file in packages/ (see packages/README.md)." >&2; \
            exit 1; \
        fi; \
        apt-get install --simulate --no-install-recommends /tmp/packages/*.deb > /dev/null 2>&1 || apt-get update; \
        apt-get install -y --no-install-recommends /tmp/packages/*.deb ;; \
    *) \
        echo "MAAS_PACKAGES is ppa or local, not \"$MAAS_PACKAGES\"." >&2; \
        exit 1 ;; \
    esac; \
    dpkg --status maas-region-api maas-rack-controller > /dev/null; \
    units=/tmp/units.sha256; \
    if [ -f /tmp/packages/units.sha256 ]; then units=/tmp/packages/units.sha256; fi; \
    /tmp/packages/check-units "$units"; \
    chmod 0755 /etc/sudoers.d; \
    chmod 0444 /etc/sudoers.d/99-maas-*; \
    rm -rf /tmp/packages /tmp/units.sha256 /var/lib/apt/lists/* /var/cache/apt/* /var/cache/debconf/*-old /var/log/apt \
        /var/log/dpkg.log /etc/bind/maas/* /etc/bind/rndc.key /etc/bind/*.options.[0-9]* \
        /etc/maas/regiond.conf /etc/maas/rackd.conf /var/lib/bind/maas/* /run/lock/maas*; \
    cd /; \
    rm -rf run/*; \
    rmdir etc/bind/maas var/lib/bind/maas; \
    ln -s /var/lib/maas/bind/etc etc/bind/maas; \
    ln -s /var/lib/maas/bind/zones var/lib/bind/maas; \
    mkdir -p etc/maas/certificates run/lock tmp/maas \
        var/lib/maas/bind/etc var/lib/maas/bind/zones var/lib/maas/certificates var/lib/maas/dhcp var/lib/maas/image-storage \
        var/lib/maas/prometheus var/lib/maas/temporal var/lib/maas/tftp_root var/log/maas/http var/log/maas/proxy \
        var/log/maas/rsyslog; \
    mkdir -p usr/share/maas-init/skeleton/etc usr/share/maas-init/skeleton/var/lib; \
    cp -R --preserve=mode etc/maas etc/bind etc/chrony usr/share/maas-init/skeleton/etc/; \
    cp -R --preserve=mode var/lib/maas usr/share/maas-init/skeleton/var/lib/; \
    chmod -R a+rX usr/share/maas-init/skeleton; \
    link() { rm -rf "$1"; ln -s "$2" "$1"; }; \
    link etc/supervisord.conf /run/maas-init/supervisord.conf; \
    link etc/bind /run/maas-init/etc/bind; \
    link etc/chrony /run/maas-init/etc/chrony; \
    link var/cache/bind /run/maas-init/bind; \
    link var/lib/chrony /run/maas-init/chrony; \
    link var/log/chrony /run/maas-init/chrony; \
    link var/log/nginx /run/maas-init/http; \
    link var/cache/maas /tmp/maas/agent; \
    link var/spool/maas-proxy /tmp/maas/proxy; \
    chown -R maas:root etc/maas tmp/maas var/lib/maas var/log/maas; \
    chmod -R g=u etc/maas tmp/maas var/lib/maas var/log/maas; \
    chown root:root run run/lock; \
    chmod 1777 run run/lock; \
    find / -xdev -type f -perm /6000 -exec chmod a-s {} +; \
    getcap -r /usr | grep -v '^/usr/lib/maas-init/setpriv ' | cut -d ' ' -f 1 | xargs --no-run-if-empty -n 1 setcap -r


# ---- maas-init and its libraries, in a virtual environment ----

FROM distribution AS python

ARG DEBIAN_FRONTEND=noninteractive

RUN set -eu; \
    apt-get update; \
    apt-get install -y --no-install-recommends python3-venv

# build-host/ may hold a pip.conf and a certificate bundle for networks that need their own. It stays in this stage.
COPY requirements.txt requirements-build.txt build-host* /build/
RUN set -eu; \
    if [ -f /build/pip.conf ]; then export PIP_CONFIG_FILE=/build/pip.conf; fi; \
    python3 -m venv /opt/maas-init; \
    /opt/maas-init/bin/pip install --no-cache-dir --disable-pip-version-check --require-hashes --no-deps \
        --only-binary :all: -r /build/requirements.txt -r /build/requirements-build.txt

COPY pyproject.toml README.md LICENSE /build/
COPY maas_init /build/maas_init/
RUN set -eu; \
    chmod -R u=rwX,go=rX /build/maas_init; \
    /opt/maas-init/bin/pip install --no-cache-dir --disable-pip-version-check --no-index --no-deps \
        --no-build-isolation /build; \
    /opt/maas-init/bin/pip uninstall --yes --quiet setuptools pip; \
    /opt/maas-init/bin/python3 -c 'import maas_init.cli'; \
    ln -s "$(ls /opt/maas-init/lib)" /opt/maas-init/lib/python


# ---- The image ----

FROM maas AS production

ARG MAAS_VERSION=3.5
ARG MAAS_PACKAGES=ppa
ARG MAAS_UID=568
ARG MAAS_GID=568

COPY --from=python /opt/maas-init /opt/maas-init
COPY maas_init/bridge/sudo maas_init/bridge/systemctl maas_init/bridge/journalctl maas_init/bridge/ping \
    maas_init/bridge/systemd-detect-virt maas_init/bridge/healthcheck.sh /usr/local/bin/
COPY maas_init/bridge/rsyslog.sed maas_init/bridge/sbom /usr/lib/maas-init/
COPY maas_init/bridge/without-uvloop/ /usr/lib/maas-init/without-uvloop/
COPY supervisord.conf.d/ /usr/lib/maas-init/supervisord.conf.d/
# Modes as they should be, whatever the umask of the checkout; at the end a list of everything that is in the image.
RUN set -eu; \
    cd /usr/lib/maas-init; \
    chmod -R u=rwX,go=rX rsyslog.sed sbom supervisord.conf.d without-uvloop; \
    cd /usr/local/bin; \
    chmod 0755 healthcheck.sh journalctl ping sudo systemctl systemd-detect-virt; \
    for name in maas-init supervisorctl supervisord; do ln -s "/opt/maas-init/bin/$name" /usr/local/bin/; done; \
    completion=/usr/share/bash-completion/completions/maas-init; \
    mkdir -p "${completion%/*}"; \
    maas-init completion bash > "$completion"; \
    echo ". $completion" >> /etc/bash.bashrc; \
    /opt/maas-init/bin/python3 /usr/lib/maas-init/sbom maas-init "$MAAS_VERSION" > /usr/share/maas-init/sbom.cdx.json

ENV LANG=C.UTF-8

# What only the one who builds knows; tests/tools/image does.
ARG BASE_IMAGE
ARG BASE_DIGEST=
ARG REVISION=
ARG CREATED=
ARG SOURCE=
LABEL org.opencontainers.image.title="maas-init" \
      org.opencontainers.image.description="Canonical MAAS in one unprivileged container" \
      org.opencontainers.image.version="${MAAS_VERSION}" \
      org.opencontainers.image.licenses="MIT AND AGPL-3.0-only" \
      org.opencontainers.image.source="${SOURCE}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}" \
      org.opencontainers.image.base.name="${BASE_IMAGE}" \
      org.opencontainers.image.base.digest="${BASE_DIGEST}" \
      maas-init.packages="${MAAS_PACKAGES}"

VOLUME ["/etc/maas", "/var/lib/maas", "/var/log/maas", "/tmp/maas"]
EXPOSE 5240 5443 69/udp 5241-5248 5250-5270 5290 8000
USER ${MAAS_UID}:${MAAS_GID}
WORKDIR /var/lib/maas
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=10s --start-period=90s --retries=3 CMD ["/usr/local/bin/healthcheck.sh"]
ENTRYPOINT ["/usr/local/bin/maas-init"]
CMD ["run"]


# ---- The image with tools to look into it ----

FROM production AS development

ARG DEBIAN_FRONTEND=noninteractive
ARG MAAS_VERSION=3.5
ARG MAAS_UID=568
ARG MAAS_GID=568

USER root
RUN set -eu; \
    apt-get update; \
    apt-get install -y --no-install-recommends gdb less lsof psmisc python3-venv strace vim-tiny; \
    /opt/maas-init/bin/python3 /usr/lib/maas-init/sbom maas-init "$MAAS_VERSION" > /usr/share/maas-init/sbom.cdx.json; \
    rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/cache/debconf/*-old /var/log/apt /var/log/dpkg.log; \
    find / -xdev -type f -perm /6000 -exec chmod a-s {} +
# The source of a checkout is mounted over the installed one: see compose.dev.yaml.
USER ${MAAS_UID}:${MAAS_GID}


# ---- The default ----

FROM production
