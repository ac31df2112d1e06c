# What every lab case starts from, inside the guest: the NIC under test in the first network namespace,
# its peer in another, so that every packet crosses both NICs and the hub between them.
# Sourced by the cases; REPO, OUT and NICMEND come from tests/lab/vm.
set -euo pipefail

nicmend=$NICMEND
here_ip=10.86.2.1 peer_ip=10.86.2.2

# What nicmend kept is left in the output directory, however the case ends.
trap 'cp -r /var/lib/nicmend "$OUT/state" 2> /dev/null || true' EXIT
rm -rf "$OUT/state"

# fail WHAT…: the case's last words.
fail() { echo "FAIL: $*"; exit 1; }

# skip WHY…
skip() { echo "SKIP: $*"; exit 77; }

# is WHAT EXPECTED GOT: one checked fact.
is() {
    [[ $2 == "$3" ]] || fail "$1: expected '$2', got '$3'"
    echo "ok: $1: $3"
}

# until_ok SECONDS COMMAND…: repeats the command until it succeeds; fails the case when time is up.
until_ok() {
    local seconds=$1 end=$((SECONDS + $1)); shift
    until "$@" > /dev/null 2>&1; do
        ((SECONDS < end)) || fail "not within $seconds s: $*"
        sleep 0.1
    done
}

# nic_of DRIVER: interface names move with the device list, so a NIC is found by its driver.
nic_of() {
    local dir
    for dir in /sys/class/net/*; do
        if [[ $(readlink -f "$dir/device/driver" 2> /dev/null) == */"$1" ]]; then
            basename "$dir"
            return
        fi
    done
    fail "no NIC with driver $1"
}

in_peer() { ip netns exec peer "$@"; }

# topology DRIVER PEER-DRIVER: sets `nic` and `peer`, addresses both, waits until packets cross.
topology() {
    modprobe "$1"
    modprobe "$2"
    nic=$(nic_of "$1") peer=$(nic_of "$2")
    ip link set lo up
    ip netns add peer
    ip link set "$peer" netns peer
    ip addr add "$here_ip/24" dev "$nic"
    ip link set "$nic" up
    in_peer ip link set lo up
    in_peer ip addr add "$peer_ip/24" dev "$peer"
    in_peer ip link set "$peer" up
    crosses
    # 82576 hashes UDP by addresses only until told otherwise: all flows would share one queue.
    ethtool -N "$nic" rx-flow-hash udp4 sdfn 2> /dev/null || true
}

crosses() { until_ok 30 ping -q -c 1 -W 1 "$peer_ip"; }

# Witnesses: ethtool's own words for one value.
ring() { ethtool -g "$nic" | awk -v key="$1:" '/^Current/ {now = 1} now && $1 == key {print $2}'; }
coalesce() { ethtool -c "$nic" | awk -v key="$1:" '$1 == key {print $2}'; }
private_flag() { ethtool --show-priv-flags "$nic" | tr -d : | awk -v key="$1" '$1 == key {print $2}'; }

# Everything ethtool shows of the NIC's configuration, for a comparison of the whole.
witness() {
    local option
    for option in -g -c -l -k -a -x --show-priv-flags; do
        echo "ethtool $option"
        ethtool "$option" "$nic" 2> /dev/null || true
    done
    sysctl net.core.dev_weight net.core.netdev_budget net.core.netdev_budget_usecs
    cat "/sys/class/net/$nic"/{mtu,tx_queue_len,gro_flush_timeout,napi_defer_hard_irqs}
}

# same_as FILE: the NIC is configured as the witness saw it then.
same_as() {
    witness > "$OUT/witness.now"
    diff -u "$1" "$OUT/witness.now" || fail "the NIC is not as it was"
    echo "ok: the NIC is exactly as it was"
}

# needs_nicmend: the binary is there and can apply.
needs_nicmend() {
    [[ -x $nicmend ]] || skip "$nicmend is not built"
    "$nicmend" apply --help 2>&1 | grep -e --peer > /dev/null || skip "$nicmend cannot apply"
}

# reflector: a peer for the probe, on the port that --peer defaults to.
reflector() {
    ip netns exec peer "$nicmend" reflect --listen "$peer_ip:862" > "$OUT/reflect.log" 2>&1 &
    until_ok 20 listens
}

listens() { in_peer ss -Hlun "sport = :862" | grep . > /dev/null; }

# apply PLAYBOOK [ARGUMENT…]: one run; its exit code in `code`, its JSON in $OUT/run.json.
apply() {
    local playbook=$1; shift
    code=0
    "$nicmend" apply "$REPO/tests/lab/playbooks/$playbook" --nic "$nic" --peer "$peer_ip" --json "$@" \
        > "$OUT/run.json" 2> "$OUT/run.err" || code=$?
    echo "nicmend apply $playbook: exit $code"
    sed 's/^/    /' "$OUT/run.json" "$OUT/run.err" | tail -n 40
}

# state_of: the state the run's JSON claims.
state_of() { grep -oE '"state": ?"[a-z]+"' "$OUT/run.json" | sed -n 1p | grep -oE '[a-z]+"$' | tr -d '"'; }

# slow_path TIME: a detour that takes TIME, for packets that arrive on the NIC; nothing takes it yet.
slow_path() {
    modprobe -a ifb sch_netem cls_bpf act_mirred
    [[ -e /sys/class/net/ifb0 ]] || ip link add ifb0 type ifb
    ip link set ifb0 up
    tc qdisc add dev ifb0 root netem delay "$1" limit 100000
    tc qdisc add dev "$nic" clsact
}

# slow_queue QUEUE: from now on what arrives on this one receive queue takes the detour. The filter is a
# classic BPF program on the skb's queue_mapping (0 where none is recorded, else the queue + 1).
slow_queue() {
    # ld [queue_mapping]; jeq #QUEUE+1; ret 1; ret 0   (SKF_AD_OFF + SKF_AD_QUEUE = 0xfffff018)
    tc filter add dev "$nic" ingress protocol all bpf \
        bytecode "4,32 0 0 4294963224,21 0 1 $(($1 + 1)),6 0 0 1,6 0 0 0" \
        action mirred egress redirect dev ifb0
}

normal_queue() {
    tc qdisc del dev "$nic" clsact
    tc qdisc del dev ifb0 root
}
