#!/bin/sh
# Installs what is missing on Debian and Ubuntu: setup.sh [postgresql] [dovecot] [compiler]
#
# It says first what it installs. It never starts, stops or changes a service of this machine: no database cluster is
# made (create_main_cluster = false) and a policy-rc.d denies every start while apt runs. SETUP=no forbids installing;
# where it cannot install it prints exactly what to install and fails.
set -eu

have_postgresql() {
	[ -n "${POSTROOM_PG_BIN:-}" ] && [ -x "$POSTROOM_PG_BIN/initdb" ] && return 0
	for d in /usr/lib/postgresql/*/bin /usr/pgsql-*/bin; do
		[ -x "$d/initdb" ] && [ -x "$d/postgres" ] && [ "$(version "$d/postgres")" -ge 14 ] && return 0
	done
	command -v initdb >/dev/null && command -v postgres >/dev/null && [ "$(version postgres)" -ge 14 ]
}

version() { # the major version, 0 if it does not run
	v=$("$1" --version 2>/dev/null | sed -n 's/^postgres (PostgreSQL) \([0-9][0-9]*\).*/\1/p')
	echo "${v:-0}"
}

have_dovecot() {
	command -v dovecot >/dev/null || [ -x /usr/sbin/dovecot ] || return 1
	for f in imap pop3 lmtp; do
		[ -x "/usr/lib/dovecot/$f" ] || [ -x "/usr/libexec/dovecot/$f" ] || return 1
	done
}

have_compiler() { # the race detector links C
	command -v "${CC:-gcc}" >/dev/null && [ -e /usr/include/stdlib.h ]
}

packages=""
for need in "$@"; do
	case $need in
	postgresql) have_postgresql || packages="$packages postgresql" ;;
	dovecot) have_dovecot || packages="$packages dovecot-imapd dovecot-pop3d dovecot-lmtpd" ;;
	compiler) have_compiler || packages="$packages gcc libc6-dev" ;;
	*) echo "setup: unknown: $need (postgresql, dovecot, compiler)" >&2; exit 2 ;;
	esac
done
[ -n "$packages" ] || exit 0

by_hand() {
	echo "setup: $1" >&2
	echo "setup: these are missing; install them, then call make again:" >&2
	echo "  Debian, Ubuntu:  apt-get install --no-install-recommends$packages" >&2
	echo "  Fedora, RHEL:    dnf install postgresql-server dovecot gcc glibc-devel" >&2
	echo "  macOS:           brew install postgresql@17 dovecot" >&2
	echo "  PostgreSQL elsewhere: set POSTROOM_PG_BIN to the folder with initdb and postgres (14 or newer)" >&2
	exit 1
}

[ "${SETUP:-yes}" != no ] || by_hand "SETUP=no forbids installing."
command -v apt-get >/dev/null || by_hand "there is no apt-get on this machine."
[ "$(id -u)" = 0 ] || by_hand "installing needs root."

echo "setup: installing by apt:$packages"
echo "setup: no service of this machine is started, stopped or changed"

# The conffile createcluster.conf of postgresql-common includes this folder.
cluster=/etc/postgresql-common/createcluster.d/postroom-setup.conf
policy=/usr/sbin/policy-rc.d
kept=""
restore() {
	rm -f "$cluster"
	if [ -n "$kept" ]; then mv -f "$kept" "$policy"; else rm -f "$policy"; fi
}
if [ -e "$policy" ]; then
	kept=$policy.before-postroom-setup
	mv -f "$policy" "$kept"
fi
trap restore EXIT
trap 'exit 1' HUP INT TERM
printf '#!/bin/sh\nexit 101\n' >"$policy"
chmod 755 "$policy"
mkdir -p "${cluster%/*}"
echo "create_main_cluster = false" >"$cluster"

export DEBIAN_FRONTEND=noninteractive
log=$(mktemp)
# shellcheck disable=SC2086
if ! { apt-get update && apt-get install -y --no-install-recommends $packages; } >"$log" 2>&1; then
	tail -n 30 "$log" >&2
	echo "setup: apt failed; all it said is in $log" >&2
	exit 1
fi
rm -f "$log"
for need in "$@"; do
	"have_$need" || { echo "setup: $need is still not found after installing$packages" >&2; exit 1; }
done
echo "setup: done"
