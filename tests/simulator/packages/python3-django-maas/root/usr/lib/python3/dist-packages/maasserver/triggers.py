"""Triggers that tell regiond of changes, and the views; dbupgrade drops both first."""

from __future__ import annotations

VIEWS = {
    "maasserver_discovery": "SELECT ip, mac_address, hostname FROM maasserver_staticipaddress",
}
ALL_TRIGGERS = """
SELECT tgname::text, relname::text FROM pg_trigger
JOIN pg_class ON tgrelid = pg_class.oid
WHERE NOT tgisinternal AND (relname LIKE 'maasserver\\_%%' OR relname LIKE
'metadataserver\\_%%' OR relname LIKE 'auth\\_%%') ORDER BY 1
"""
# enable_http_proxy is missing here on purpose: MAAS forgets it too.
CONFIG = """
CREATE OR REPLACE FUNCTION sys_config() RETURNS trigger AS $$
BEGIN
  IF NEW.name IN ('upstream_dns', 'dnssec_validation', 'dns_trusted_acl', 'default_dns_ttl',
                  'maas_internal_domain') THEN
    PERFORM pg_notify('sys_dns', NEW.name);
  ELSIF NEW.name IN ('maas_proxy_port', 'http_proxy', 'use_peer_proxy', 'prefer_v4_proxy') THEN
    PERFORM pg_notify('sys_proxy', NEW.name);
  ELSIF NEW.name = 'tls_port' THEN
    PERFORM pg_notify('sys_reverse_proxy', NEW.name);
  END IF;
  RETURN NEW;
END $$ LANGUAGE plpgsql;
CREATE TRIGGER sys_config AFTER INSERT OR UPDATE ON maasserver_config
FOR EACH ROW EXECUTE PROCEDURE sys_config();
"""
DHCP = """
CREATE OR REPLACE FUNCTION sys_dhcp() RETURNS trigger AS $$
BEGIN
  PERFORM pg_notify('sys_dhcp', TG_TABLE_NAME);
  RETURN NULL;
END $$ LANGUAGE plpgsql;
"""
WATCHED = ("vlan", "subnet", "iprange")


def drop(cursor) -> None:
    for view in VIEWS:
        cursor.execute(f"DROP VIEW IF EXISTS {view}")
    cursor.execute(ALL_TRIGGERS.replace("%%", "%"))
    for name, table in cursor.fetchall():
        cursor.execute(f"DROP TRIGGER IF EXISTS {name} ON {table}")


def install_triggers(cursor) -> None:
    cursor.execute(CONFIG)
    cursor.execute(DHCP)
    for table in WATCHED:
        cursor.execute(
            f"CREATE TRIGGER {table}_sys_dhcp AFTER INSERT OR UPDATE OR DELETE "
            f"ON maasserver_{table} FOR EACH STATEMENT EXECUTE PROCEDURE sys_dhcp()"
        )


def install_views(cursor) -> None:
    for view, query in VIEWS.items():
        cursor.execute(f"CREATE OR REPLACE VIEW {view} AS {query}")
