//! An AF_XDP socket on queue 0 of an interface, as a kernel-bypass program has one.

#![allow(unsafe_code)] // the socket options and the memory that the kernel wants have no safe wrapper

use std::{
    ffi::{CString, c_void},
    io,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
};

/// Frames of the shared memory: as few as the kernel takes.
const FRAMES: usize = 64;
const FRAME_BYTES: usize = 4096;

/// The socket, bound in copy mode; it is gone when this is dropped.
pub(crate) struct Bound {
    _socket: OwnedFd,
    memory: *mut c_void,
}

impl Drop for Bound {
    fn drop(&mut self) {
        // SAFETY: mapped by `bound` with this length, and unmapped once. The kernel holds its own pages.
        unsafe { libc::munmap(self.memory, FRAMES * FRAME_BYTES) };
    }
}

pub(crate) fn bound(nic: &str) -> io::Result<Bound> {
    let name = CString::new(nic).expect("a name");
    // SAFETY: no memory is handed over.
    let raw = unsafe { libc::socket(libc::AF_XDP, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
    if raw < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: just opened, and owned by nobody else.
    let socket = unsafe { OwnedFd::from_raw_fd(raw) };
    let (protection, flags) =
        (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    // SAFETY: a new anonymous mapping of a fixed length.
    let memory =
        unsafe { libc::mmap(std::ptr::null_mut(), FRAMES * FRAME_BYTES, protection, flags, -1, 0) };
    if memory == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    let bound = Bound { _socket: socket, memory };
    let umem = libc::xdp_umem_reg {
        addr: memory as u64,
        len: (FRAMES * FRAME_BYTES) as u64,
        chunk_size: FRAME_BYTES as u32,
        headroom: 0,
        flags: 0,
        tx_metadata_len: 0,
    };
    set(raw, libc::XDP_UMEM_REG, &umem)?;
    let ring = FRAMES as u32;
    for option in [libc::XDP_UMEM_FILL_RING, libc::XDP_UMEM_COMPLETION_RING, libc::XDP_RX_RING] {
        set(raw, option, &ring)?;
    }
    // SAFETY: a string that ends with a zero byte.
    let ifindex = unsafe { libc::if_nametoindex(name.as_ptr()) };
    let address = libc::sockaddr_xdp {
        sxdp_family: libc::AF_XDP as u16,
        sxdp_flags: libc::XDP_COPY,
        sxdp_ifindex: ifindex,
        sxdp_queue_id: 0,
        sxdp_shared_umem_fd: 0,
    };
    // SAFETY: a whole sockaddr_xdp with its length.
    let result = unsafe {
        let length = size_of_val(&address) as libc::socklen_t;
        libc::bind(bound._socket.as_raw_fd(), (&raw const address).cast(), length)
    };
    if result == 0 { Ok(bound) } else { Err(io::Error::last_os_error()) }
}

fn set<T>(socket: i32, option: i32, value: &T) -> io::Result<()> {
    let length = size_of::<T>() as libc::socklen_t;
    // SAFETY: the value is whole, and as long as it is said to be.
    let result = unsafe {
        libc::setsockopt(socket, libc::SOL_XDP, option, (&raw const *value).cast(), length)
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
