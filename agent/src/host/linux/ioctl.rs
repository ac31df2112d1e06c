//! SIOCETHTOOL and time stamping, for what the kernel offers over netlink only later or never.
//!
//! Source: include/uapi/linux/ethtool.h, net/ethtool/ioctl.c.
#![allow(unsafe_code)] // ioctl(2) and getsockopt(2) with a pointer, and the guarded memory that makes it safe.

use std::{
    io,
    os::fd::{AsRawFd, OwnedFd},
    ptr,
};

use nix::sys::socket::{self, AddressFamily, SockFlag, SockType};

use crate::fault::{Fault, Kind, Result};

/// The longest buffer taken: a string set of 64 Ki names of 32 bytes, and room.
const BUFFER_BYTES_MAX: usize = 4 << 20;

/// include/uapi/linux/sockios.h.
const SIOCSHWTSTAMP: u64 = 0x89b0;
const SIOCGHWTSTAMP: u64 = 0x89b1;
/// The same on every architecture of ours; libc names it for some C libraries only.
const SO_NETNS_COOKIE: libc::c_int = 71;

/// A socket to ask through, in the network namespace of the thread that opened it.
pub(super) struct Ethtool {
    socket: OwnedFd,
}

impl Ethtool {
    pub(super) fn open() -> Result<Ethtool> {
        let socket = socket::socket(
            AddressFamily::Inet,
            SockType::Datagram,
            SockFlag::SOCK_CLOEXEC,
            None,
        )
        .map_err(|errno| Fault::errno("open a socket for SIOCETHTOOL", errno as i32, None))?;
        Ok(Ethtool { socket })
    }

    /// include/uapi/asm-generic/socket.h, `SO_NETNS_COOKIE`.
    pub(super) fn netns_cookie(&self) -> Option<u64> {
        let mut cookie = 0_u64;
        let mut bytes = size_of::<u64>() as libc::socklen_t;
        // SAFETY: the kernel writes at most `bytes` bytes to `cookie`, and how many to `bytes`; both outlive
        // the call.
        let done = unsafe {
            libc::getsockopt(
                self.socket.as_raw_fd(),
                libc::SOL_SOCKET,
                SO_NETNS_COOKIE,
                (&raw mut cookie).cast(),
                &raw mut bytes,
            )
        };
        (done == 0 && bytes as usize == size_of::<u64>()).then_some(cookie)
    }

    /// Hands `buffer` to the driver of `nic`; answers what the kernel made of it, of the same length.
    pub(super) fn exchange(&self, nic: &str, buffer: &[u8]) -> Result<Vec<u8>> {
        let command = buffer.first_chunk().map_or(0, |word| u32::from_ne_bytes(*word));
        self.ask(libc::SIOCETHTOOL, format!("ethtool command {command:#x} on {nic}"), nic, buffer)
    }

    /// `struct hwtstamp_config` of include/uapi/linux/net_tstamp.h: i32 flags, transmit type, receive filter.
    pub(super) fn stamping(&self, nic: &str, config: Option<&[u8; 12]>) -> Result<Vec<u8>> {
        match config {
            None => {
                self.ask(SIOCGHWTSTAMP, format!("read the time stamping of {nic}"), nic, &[0; 12])
            }
            Some(config) => {
                self.ask(SIOCSHWTSTAMP, format!("set the time stamping of {nic}"), nic, config)
            }
        }
    }

    fn ask(&self, number: u64, act: String, nic: &str, buffer: &[u8]) -> Result<Vec<u8>> {
        if buffer.len() < 4 || buffer.len() > BUFFER_BYTES_MAX {
            return Err(Fault::new(Kind::Invalid, act, "the buffer is not of 4 bytes to 4 MiB"));
        }
        let mut memory = Guarded::holding(buffer).map_err(|error| io_fault(&act, &error))?;
        let mut request = request(nic).ok_or_else(|| {
            Fault::new(Kind::Invalid, &act, "an interface name has 1 to 15 bytes and no NUL")
        })?;
        request.ifr_ifru.ifru_data = memory.start().cast();
        // SAFETY: `request` is a whole `struct ifreq` that outlives the call. The kernel reads and
        // writes user memory only from `ifru_data` upwards; our buffer ends at a page that is not
        // accessible, so whatever length the driver derives, it gets EFAULT instead of our memory.
        let answer = unsafe { libc::ioctl(self.socket.as_raw_fd(), number as _, &raw mut request) };
        if answer < 0 {
            return Err(io_fault(&act, &io::Error::last_os_error()));
        }
        Ok(memory.bytes().to_vec())
    }
}

fn io_fault(act: &str, error: &io::Error) -> Fault {
    Fault::errno(act, error.raw_os_error().unwrap_or(libc::EIO), None)
}

fn request(nic: &str) -> Option<libc::ifreq> {
    let name = nic.as_bytes();
    if name.is_empty() || name.len() >= libc::IFNAMSIZ || name.contains(&0) {
        return None;
    }
    // SAFETY: `struct ifreq` is plain data of integers and a pointer; all zeroes is a value of it.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (slot, byte) in request.ifr_name.iter_mut().zip(name) {
        *slot = byte.cast_signed() as libc::c_char;
    }
    Some(request)
}

/// Bytes that end exactly where an inaccessible page begins: the kernel trusts counts inside the
/// buffer (and a driver its own), so a short buffer must fault, never overwrite what lies behind it.
struct Guarded {
    map: *mut libc::c_void,
    map_bytes: usize,
    offset: usize,
    length: usize,
}

impl Guarded {
    fn holding(bytes: &[u8]) -> io::Result<Guarded> {
        // SAFETY: sysconf has no memory effects.
        let page = usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096);
        let body = bytes.len().next_multiple_of(page);
        let map_bytes = body + page;
        // SAFETY: a fresh anonymous private mapping at an address of the kernel's choice.
        let map = unsafe {
            libc::mmap(
                ptr::null_mut(),
                map_bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        if map == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let mut memory =
            Guarded { map, map_bytes, offset: body - bytes.len(), length: bytes.len() };
        memory.bytes().copy_from_slice(bytes);
        // SAFETY: the last page of our own mapping, which no reference reaches into.
        if unsafe { libc::mprotect(map.byte_add(body), page, libc::PROT_NONE) } != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(memory)
    }

    fn start(&mut self) -> *mut libc::c_char {
        // SAFETY: `offset` is inside the mapping by construction.
        unsafe { self.map.byte_add(self.offset).cast() }
    }

    fn bytes(&mut self) -> &mut [u8] {
        // SAFETY: `length` bytes from `offset` are mapped readable and writable, initialised (an
        // anonymous mapping is zeroed), and borrowed through `&mut self` only.
        unsafe { std::slice::from_raw_parts_mut(self.start().cast(), self.length) }
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        // SAFETY: our own mapping, unmapped once; no borrow outlives `self`.
        unsafe { libc::munmap(self.map, self.map_bytes) };
    }
}
