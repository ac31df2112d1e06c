//! One tracked connection, as ctnetlink tells it.

use std::net::IpAddr;

use crate::host::tlv::Attrs;

/// `struct nfgenmsg`
const NFGENMSG_BYTES: usize = 4;
// enum ctattr_type, ctattr_tuple, ctattr_ip, ctattr_protoinfo
const TUPLE_ORIG: u16 = 1;
const TUPLE_REPLY: u16 = 2;
const TUPLE_IP: u16 = 1;
const V4_SRC: u16 = 1;
const V6_SRC: u16 = 3;
const PROTOINFO: u16 = 4;
const PROTOINFO_TCP: u16 = 1;
const TCP_STATE: u16 = 1;
/// TCP_CONNTRACK_TIME_WAIT, TCP_CONNTRACK_CLOSE.
const ENDED: [u8; 2] = [7, 8];

/// Who began it, and the end that answers: addresses as they are before this host translates them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Flow {
    pub(super) source: IpAddr,
    pub(super) target: IpAddr,
}

impl Flow {
    /// `None` for one that has ended.
    pub(super) fn parse(answer: &[u8]) -> Option<Flow> {
        let attributes = Attrs(answer.get(NFGENMSG_BYTES..)?);
        let state = attributes
            .find(PROTOINFO)
            .and_then(|info| info.nested().find(PROTOINFO_TCP))
            .and_then(|tcp| tcp.nested().find(TCP_STATE)?.payload.first().copied());
        if state.is_some_and(|state| ENDED.contains(&state)) {
            return None;
        }
        let source = |tuple: u16| address(attributes.find(tuple)?.nested());
        Some(Flow { source: source(TUPLE_ORIG)?, target: source(TUPLE_REPLY)? })
    }
}

fn address(tuple: Attrs<'_>) -> Option<IpAddr> {
    let ip = tuple.find(TUPLE_IP)?.nested();
    if let Some(v4) = ip.find(V4_SRC) {
        return Some(IpAddr::from(<[u8; 4]>::try_from(v4.payload).ok()?));
    }
    Some(IpAddr::from(<[u8; 16]>::try_from(ip.find(V6_SRC)?.payload).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::tlv::Writer;

    fn message(tcp_state: u8) -> Vec<u8> {
        let tuple = |from: [u8; 4], to: [u8; 4]| {
            let (mut ip, mut tuple) = (Writer::new(), Writer::new());
            ip.put(V4_SRC, &from).put(2, &to);
            tuple.nest(TUPLE_IP, &ip);
            tuple
        };
        let (mut state, mut tcp) = (Writer::new(), Writer::new());
        state.u8(TCP_STATE, tcp_state);
        tcp.nest(PROTOINFO_TCP, &state);
        let mut whole = Writer::new();
        whole
            .nest(TUPLE_ORIG, &tuple([172, 17, 0, 2], [192, 0, 2, 9]))
            .nest(TUPLE_REPLY, &tuple([192, 0, 2, 9], [10, 0, 0, 1]))
            .nest(PROTOINFO, &tcp);
        [&[2, 0, 0, 0][..], whole.as_bytes()].concat()
    }

    #[test]
    fn a_translated_connection_is_read_by_its_two_ends() {
        let flow = Flow::parse(&message(3)).unwrap();
        assert_eq!(flow.source.to_string(), "172.17.0.2");
        assert_eq!(flow.target.to_string(), "192.0.2.9");
        assert_eq!(Flow::parse(&message(7)), None);
        let whole = message(3);
        for length in 0..whole.len() {
            let _ = Flow::parse(&whole[..length]);
        }
    }
}
