# A host in a network namespace of its own. Documentation addresses stand for public ones.
set -e
# The way out, and the way to the server of a VPN through the same gateway.
ip link set lo up
ip link add wan type veth peer wanpeer
ip link set wan up
ip link set wanpeer up
ip address add 198.51.100.2/24 dev wan
ip route add default via 198.51.100.1
ip route add 9.9.9.9 via 198.51.100.1
ip -6 address add 2001:db8:1::2/64 dev wan nodad
ip -6 route add default via 2001:db8:1::1
ip -6 route add 2620:fe::9 via 2001:db8:1::1
# An interface without carrier keeps its addresses, but is not RUNNING: a bridge without ports.
ip link add idle type bridge
ip link set idle up
ip address add 203.0.113.5/24 dev idle
ip -6 address add 2001:db8:5::5/64 dev idle nodad
# Addresses that no interface has.
ip route add local 192.0.2.200/32 dev lo
ip -6 route add local 2001:db8:6::/64 dev lo
# Networks behind a VPN, in the main table and in one of its own; and its other way of writing a default route.
ip link add vpn type veth peer vpnpeer
ip link set vpn up
ip link set vpnpeer up
ip route add 25.0.0.0/8 dev vpn
ip route add 45.0.0.0/16 dev vpn table 52
ip rule add lookup 52
ip -6 route add 2a00:1::/32 dev vpn
ip route add 0.0.0.0/1 dev vpn
ip route add 128.0.0.0/1 dev vpn
ip -6 route add 2000::/3 dev vpn
exec "$@"
