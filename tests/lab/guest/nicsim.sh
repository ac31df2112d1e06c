# For cases on nicsim, the lab's own NIC; after guest/lib.sh. Two devices, wired to each other: the first
# (lowest PCI address) is under test and has the faults, the second is in the peer namespace.

mkfw=$REPO/tests/lab/nicsim/mkfw
bad=14.32.1010 golden=14.31.1014

# nicsim [PARAMETER=VALUE…]: loads the driver and sets `pci` and `handle` of the NIC under test, `nic`, `peer`;
# then as topology does.
nicsim() {
    local devices
    modprobe nicsim "$@"
    mapfile -t devices < <(cd /sys/bus/pci/drivers/nicsim && printf '%s\n' 0000:* | sort)
    ((${#devices[@]} == 2)) || fail "not two devices: ${devices[*]}"
    pci=${devices[0]} handle=pci/${devices[0]}
    nic=$(netdev_of "$pci") peer=$(netdev_of "${devices[1]}")
    ip link set lo up
    ip netns add peer
    in_peer ip link set lo up
    ip link set "$peer" netns peer
    in_peer ip addr add "$peer_ip/24" dev "$peer"
    in_peer ip link set "$peer" up
    addressed
}

# netdev_of PCI-ADDRESS: of the device's first port; empty where it has none.
netdev_of() {
    local dir
    for dir in /sys/bus/pci/devices/"$1"/net/*; do
        [[ ! -e $dir || $(< "$dir/dev_port") != 0 ]] || basename "$dir"
    done
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
