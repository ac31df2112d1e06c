//! An nf_tables base chain on an interface, made by the kernel's own bytes: nft(8) is not everywhere.

use std::os::fd::AsRawFd;

use agent::host::tlv::Writer;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv, sendto, socket,
};

/// include/uapi/linux/netlink.h, netfilter/nfnetlink.h, netfilter/nf_tables.h.
const REQUEST: u16 = 1;
const ACK: u16 = 4;
const CREATE: u16 = 0x400;
const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
const NFTABLES: u16 = 10;
const NEWTABLE: u16 = NFTABLES << 8;
const NEWCHAIN: u16 = NFTABLES << 8 | 3;
const NETDEV: u8 = 5;
const HEADER_BYTES: usize = 16;

/// `nft add table netdev t`, `nft add chain netdev t c { type filter hook ingress device DEVICE priority 0; }`.
/// False where this kernel has no nf_tables.
pub(crate) fn chain_on(device: &str) -> bool {
    let (kind, way) = (SockType::Raw, SockProtocol::NetlinkNetFilter);
    let Ok(netlink) = socket(AddressFamily::Netlink, kind, SockFlag::SOCK_CLOEXEC, way) else {
        return false;
    };
    let mut table = Writer::new();
    table.text(1, "t");
    let (mut hook, mut chain) = (Writer::new(), Writer::new());
    hook.put(1, &[0; 4]).put(2, &[0; 4]).text(3, device);
    chain.text(1, "t").text(3, "c").nest(4, &hook).text(7, "filter");
    let batch = [
        message(BATCH_BEGIN, REQUEST, [0, 0, 0, NFTABLES as u8], &Writer::new()),
        message(NEWTABLE, REQUEST | CREATE | ACK, [NETDEV, 0, 0, 0], &table),
        message(NEWCHAIN, REQUEST | CREATE | ACK, [NETDEV, 0, 0, 0], &chain),
        message(BATCH_END, REQUEST, [0, 0, 0, NFTABLES as u8], &Writer::new()),
    ]
    .concat();
    let kernel = NetlinkAddr::new(0, 0);
    sendto(netlink.as_raw_fd(), &batch, &kernel, MsgFlags::empty()).expect("the batch is sent");
    // Each of the two is acknowledged, or the batch refused, at once.
    let mut answer = [0; 4096];
    let length = recv(netlink.as_raw_fd(), &mut answer, MsgFlags::empty()).expect("an answer");
    assert!(length >= HEADER_BYTES + 4, "{length} bytes");
    let code = i32::from_ne_bytes(answer[HEADER_BYTES..HEADER_BYTES + 4].try_into().expect("4"));
    assert!(matches!(code.abs(), 0 | libc::EOPNOTSUPP | libc::EAFNOSUPPORT), "refused: {code}");
    code == 0
}

/// `struct nlmsghdr`, `struct nfgenmsg` and TLVs.
fn message(kind: u16, flags: u16, nfgenmsg: [u8; 4], attributes: &Writer) -> Vec<u8> {
    let length = HEADER_BYTES + nfgenmsg.len() + attributes.as_bytes().len();
    let mut bytes = u32::try_from(length).expect("it is short").to_ne_bytes().to_vec();
    bytes.extend([kind, flags].map(u16::to_ne_bytes).concat());
    bytes.extend([0; 8]);
    bytes.extend(nfgenmsg);
    bytes.extend(attributes.as_bytes());
    bytes
}
