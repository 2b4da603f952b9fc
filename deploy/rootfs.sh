#!/bin/sh
# rootfs.sh PROGRAM FOLDER: lays out all that the server's image holds.
#
# The program, the libraries that it names (each at the path at which it is found here), certificates of authorities, and the
# account under which it runs. Names are looked up by glibc itself (2.34 and newer), so no further library is opened later.
set -eu

program=$1
root=$2
certificates=${KITH_CA_FILE:-/etc/ssl/certs/ca-certificates.crt}

mkdir -p "$root/usr/bin" "$root/etc/ssl/certs" "$root/run/secrets" "$root/run/postgresql" "$root/tmp"
chmod 1777 "$root/tmp"
install -m 0755 "$program" "$root/usr/bin/kith-server"

ldd "$program" | awk '$2 == "=>" && $3 ~ /^\// { print $3 } $1 ~ /^\// { print $1 }' | while read -r library; do
    mkdir -p "$root$(dirname "$library")"
    install -m 0755 "$(readlink -f "$library")" "$root$library"
done
if ldd "$program" | grep -q 'not found'; then
    echo "rootfs.sh: $program names a library that is not here" >&2
    exit 1
fi

install -m 0644 "$certificates" "$root/etc/ssl/certs/ca-certificates.crt"
echo 'kith:x:65532:65532:Kith:/:/sbin/nologin' > "$root/etc/passwd"
echo 'kith:x:65532:' > "$root/etc/group"
echo 'hosts: files dns' > "$root/etc/nsswitch.conf"
chmod 0644 "$root/etc/passwd" "$root/etc/group" "$root/etc/nsswitch.conf"
