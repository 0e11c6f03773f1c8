set -eu
PATH=$(echo /usr/lib/postgresql/*/bin):$PATH
data=/var/lib/postgresql/data/main
if ! [ -s "$data/PG_VERSION" ]; then
    echo "$POSTGRES_PASSWORD" > /tmp/password
    initdb --pgdata "$data" --username "$POSTGRES_USER" --pwfile /tmp/password --auth-host scram-sha-256 --auth-local trust --encoding UTF8
    rm /tmp/password
    echo "host all all all scram-sha-256" >> "$data/pg_hba.conf"
    echo "CREATE DATABASE \"$POSTGRES_DB\";" | postgres --single -D "$data" postgres
fi
# With a certificate: no connection without TLS, and none from a client without a certificate of its own.
if [ -d /tls ]; then
    (umask 077 && cp /tls/server.crt /tls/server.key /tls/ca.crt "$data")
    sed -i 's/^host all all all .*/hostssl all all all scram-sha-256 clientcert=verify-ca/' "$data/pg_hba.conf"
    set -- -c ssl=on -c ssl_cert_file=server.crt -c ssl_key_file=server.key -c ssl_ca_file=ca.crt
fi
exec postgres -D "$data" -c listen_addresses='*' -c max_connections=200 "$@"
