# For cases on nicsim, the lab's own NIC; after guest/lib.sh. Two devices, wired to each other: the first
# (lowest PCI address) is under test and has the faults, the second is in the peer namespace.

mkfw=$REPO/tests/lab/nicsim/mkfw
bad=14.32.1010 golden=14.31.1014

# nicsim [PARAMETER=VALUE…]: loads the driver and sets `pci` and `handle` of the NIC under test, `peer_pci`, `nic`,
# `peer`; then as topology does.
nicsim() {
    local devices
    modprobe nicsim "$@"
    mapfile -t devices < <(cd /sys/bus/pci/drivers/nicsim && printf '%s\n' 0000:* | sort)
    ((${#devices[@]} == 2)) || fail "not two devices: ${devices[*]}"
    pci=${devices[0]} handle=pci/${devices[0]} peer_pci=${devices[1]}
    nic=$(netdev_of "$pci") peer=$(netdev_of "$peer_pci")
    ip link set lo up
    [[ -e /run/netns/peer ]] || ip netns add peer
    in_peer ip link set lo up
    ip link set "$peer" netns peer
    in_peer ip addr add "$peer_ip/24" dev "$peer"
    in_peer ip link set "$peer" up
    addressed
}

# netdev_of PCI-ADDRESS [PORT]: of the device's first port, or that one; empty where it has none.
netdev_of() {
    local dir
    for dir in /sys/bus/pci/devices/"$1"/net/*; do
        [[ ! -e $dir || $(< "$dir/dev_port") != "${2:-0}" ]] || basename "$dir"
    done
}

# written: how often the device was flashed and activated, by devlink; what was refused is not counted.
written() { devlink health diagnose "$handle" reporter rx | grep -oE '(flashes|activations): [0-9]+' | tr '\n' ' '; }

# no_complaint: of the kernel.
no_complaint() {
    if dmesg | grep -E 'WARNING|BUG:|Oops|leaked'; then fail "the kernel complained"; fi
    echo "ok: the kernel has no complaint"
}

# addressed: gives the NIC under test its address (again) and waits until packets cross.
addressed() {
    nic=$(netdev_of "$pci")
    [[ $nic ]] || fail "the NIC has no netdev"
    ip addr add "$here_ip/24" dev "$nic" 2> /dev/null || true
    ip link set "$nic" up
    crosses
}

# fault NAME VALUE: from now on.
fault() { echo "$2" > "/sys/module/nicsim/parameters/$1"; }

# running, stored: firmware versions, by devlink.
versions() { devlink dev info "$handle" | awk -v part="$1:" '$1 ~ /:$/ && NF == 1 {at = $1} at == part && $1 == "fw.version" {print $2}'; }
running() { versions running; }
stored() { versions stored; }

statistic() { ethtool -S "$nic" | awk -v key="$1:" '$1 == key {print $2}'; }

# images: the firmware of the story, where the kernel looks for firmware. Sets nothing; /lib/firmware is the
# guest's own overlay.
images() {
    mkdir -p /lib/firmware/nicsim
    "$mkfw" /lib/firmware/nicsim/bad.bin "$bad" --security 2 --behaviour 7
    "$mkfw" /lib/firmware/nicsim/golden.bin "$golden"
}

# site: the lab's catalog as a site's, and a first state directory.
site() {
    images
    mkdir -p /etc/nicmend
    cp -r "$REPO/tests/lab/nicsim/catalog" /etc/nicmend/catalog
    state "/var/lib/nicmend/0"
}

# state DIRECTORY: from now on nicmend's, holding the images of the golden firmware and of the running one.
state() {
    export NICMEND_STATE_DIR=$1
    "$nicmend" firmware import /lib/firmware/nicsim/golden.bin
    "$nicmend" firmware import /lib/firmware/nicsim/bad.bin
}

# losses: of a stream that `ping -D -i 0.01` wrote (on stdin): the most that one second lacked of an ordinary
# second's replies, how many were never answered, and the longest silence. Late replies overtake each other.
losses() {
    awk '
        /bytes from/ {
            at = substr($1, 2) + 0
            seq = $0; sub(/.*icmp_seq=/, "", seq); sub(/ .*/, "", seq); seq += 0
            if (last && at - last > longest) longest = at - last
            last = at
            if (!first) first = int(at)
            if (seq > sent) sent = seq
            if (!answered[seq]++) replies++
            second[int(at)]++
        }
        END {
            # The first and the last second are not whole.
            for (s = first + 1; s < int(last); s++) if (second[s] > most) most = second[s]
            for (s = first + 1; s < int(last); s++) if (second[s] > most / 2) { ordinary += second[s]; seconds++ }
            least = ordinary /= seconds
            for (s = first + 1; s < int(last); s++) if (second[s] < least) least = second[s]
            printf "peak packet loss: %.0f %% in one second; %d of %d packets were never answered\n",
                (1 - least / ordinary) * 100, sent - replies, sent
            printf "outage: %.0f ms, the longest silence of a stream of %.0f packets a second\n", longest * 1000, ordinary
        }'
}

# as_before, as_golden: what devlink and ethtool say is what was there before the run; what the run wanted.
as_before() {
    [[ "$(running) $(stored)" == "$bad $bad" ]] || { echo "firmware $(running), stored $(stored)"; return 1; }
    configured
}
as_golden() {
    [[ "$(running) $(stored)" == "$golden $golden" ]] || { echo "firmware $(running), stored $(stored)"; return 1; }
    configured
}

# configured: each port is there by its name, with its address, its settings and its link. `sibling` is the
# device's second port, where it has one.
configured() {
    as_it_was "$nic" 0 "$here_ip" "$peer_ip" "$OUT/witness.before" || return 1
    [[ -z ${sibling:-} ]] || as_it_was "$sibling" 1 "$sibling_ip" "$sibling_peer_ip" "$OUT/witness.sibling"
}

# as_it_was NETDEV PORT ADDRESS PEER WITNESS
as_it_was() {
    [[ $(netdev_of "$pci" "$2") == "$1" ]] || { echo "the netdev is '$(netdev_of "$pci" "$2")', not '$1'"; return 1; }
    [[ $(ip -o -4 addr show dev "$1") == *" $3/24 "* ]] || { echo "the address of $1 is gone"; return 1; }
    (nic=$1; witness) > "$OUT/witness.now"
    diff "$5" "$OUT/witness.now" || { echo "settings of $1 differ"; return 1; }
    ping -q -c 3 -i 0.2 -W 2 "$4" > /dev/null || { echo "nothing crosses $1"; return 1; }
}

# true_end CODE STATE: an exit code and a state, held against what devlink and ethtool say. Prints why it lies.
true_end() {
    case $1/$2 in
        0/committed) as_golden ;;
        3/reverted | 1/refused | 4/refused) as_before ;;
        # Stuck says what to do, and that something is left.
        5/stuck) ! as_before > /dev/null || { echo "stuck, but all is as before"; return 1; } ;;
        *) echo "exit $1 and state $2 do not belong together"; return 1 ;;
    esac
}

# row WHAT CODE STATE EXPECTED-CODE [SHOWN]: one line of the table of ends; fails the case where it lies. SHOWN is the
# exit code that is printed, where it is another command's.
row() {
    local lie
    lie=$(true_end "$2" "$3") || { sed 's/^/    /' "$OUT"/run.{json,err} | tail -n 60; fail "$1: a lie: $lie"; }
    printf 'end: %-44s exit %s  %-10s running %-11s stored %-11s %s\n' \
        "$1" "${5:-$2}" "$3" "$(running)" "$(stored)" "$(sed -nE 's/^(revert|stuck) +//p' "$OUT/run.err" | tail -n 1 | cut -c 1-110)"
    [[ $2 == "$4" ]] || { sed 's/^/    /' "$OUT"/run.{json,err} | tail -n 60; fail "$1: exit $2, expected $4"; }
}

# recovered WHAT: `nicmend recover`, and its line of the table.
recovered() {
    local code=0
    "$nicmend" recover > "$OUT/recover.log" 2> "$OUT/run.err" || code=$?
    sed 's/^/    /' "$OUT/recover.log" "$OUT/run.err" | grep -v 'Flashing '
    ((code == 0)) || fail "$1: recover: exit $code"
    row "$1" 3 "$("$nicmend" runs last --json | grep -oE '"state": ?"[a-z]+"' | sed -n 1p | grep -oE '[a-z]+"$' | tr -d '"')" 3 "$code"
}

# again: the device as at the beginning, whatever a run has left, and a state directory that knows of none.
again() {
    local name
    for name in flash_fails_at flash_lies activate_old activate_dead min_security ring_clamp coalesce_deaf busy_ms; do
        fault "$name" 0
    done
    runs=$((${runs:-0} + 1))
    state "/var/lib/nicmend/$runs" > "$OUT/site"
    if [[ "$(running) $(stored) $(netdev_of "$pci")" != "$bad $bad $nic" ]]; then
        devlink dev flash "$handle" file nicsim/bad.bin > /dev/null
        devlink dev reload "$handle" action fw_activate > /dev/null
        [[ $(netdev_of "$pci") == "$nic" ]] || { ip link set "$(netdev_of "$pci")" down; ip link set "$(netdev_of "$pci")" name "$nic"; }
        addressed
    fi
    local lie
    lie=$(as_before) || fail "not as at the beginning: $lie"
}

# The run's processes: all of nicmend but the reflector. Without a fork: under emulation a loop of small programs
# takes seconds.
processes() {
    local dir words
    victims=()
    for dir in /proc/[0-9]*; do
        [[ $dir/exe -ef $nicmend ]] || continue
        mapfile -d '' -t words < "$dir/cmdline"
        [[ ${words[1]:-} == reflect ]] || victims+=("${dir#/proc/}")
    done
}

# journal_says PATTERN: an entry of the log holds it.
journal_says() {
    local chunks=()
    mapfile -d '' chunks 2> /dev/null < "$NICMEND_STATE_DIR/log/tile/entries/000" || return 1
    [[ ${chunks[*]} == *"$1"* ]]
}

# begin [PLAYBOOK]: a run in the background, its process id in `run`.
begin() {
    "$nicmend" apply "$REPO/tests/lab/playbooks/${1:-firmware.yaml}" --nic "$nic" --peer "$peer_ip" --json \
        > "$OUT/run.json" 2> "$OUT/run.err" &
    run=$!
}

# at STEP: waits until the run has journalled this step of the firmware action.
at() {
    until journal_says "\"step\":\"$1\""; do
        kill -0 "$run" 2> /dev/null || fail "the run ended before '$1': $(< "$OUT/run.err")"
    done
}
steps=(intent flashed activating activated)
