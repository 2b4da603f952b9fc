#!/bin/sh
# Runs once, when PostgreSQL's image has made an empty cluster: the server's own role and database, and who may sign in how.
#
# The role is no superuser and owns nothing but its database. Whoever administers the cluster does so from inside its container,
# as the system's user `postgres`; the superuser has no password, and nobody comes over a network.
set -eu

psql --quiet --no-psqlrc --set=ON_ERROR_STOP=1 --username="$POSTGRES_USER" --dbname=postgres <<'SQL'
\getenv password POSTGRES_PASSWORD
\getenv superuser POSTGRES_USER
CREATE ROLE kith_server LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE PASSWORD :'password';
CREATE DATABASE kith_server OWNER kith_server TEMPLATE template0 ENCODING 'UTF8';
REVOKE ALL ON DATABASE kith_server FROM PUBLIC;
ALTER ROLE :"superuser" PASSWORD NULL;
SQL

cat > "$PGDATA/pg_hba.conf" <<HBA
local all         $POSTGRES_USER peer
local kith_server kith_server    scram-sha-256
HBA
