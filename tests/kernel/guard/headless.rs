//! A process whose first thread has ended while another works on: /proc shows it as a zombie.

#![allow(unsafe_code)] // fork(2), and ending one thread alone

use std::{
    ffi::c_void,
    os::fd::{AsRawFd, BorrowedFd},
};

use nix::{
    sys::{
        signal::{Signal, kill},
        wait::waitpid,
    },
    unistd::Pid,
};

/// Killed and reaped when this is dropped.
pub(crate) struct Headless(Pid);

impl Headless {
    /// A process that has this file open and nothing else.
    pub(crate) fn with(file: BorrowedFd<'_>) -> Headless {
        let descriptor = file.as_raw_fd();
        // SAFETY: the child calls nothing but what follows, none of which takes a lock of this process.
        let pid = unsafe { libc::fork() };
        assert!(pid >= 0, "fork");
        if pid == 0 {
            // SAFETY: plain system calls; the thread's function is one that never returns.
            unsafe {
                libc::dup2(descriptor, 3);
                libc::syscall(libc::SYS_close_range, 4_u32, u32::MAX, 0_u32);
                let mut thread = std::mem::zeroed();
                let none = std::ptr::null_mut();
                libc::pthread_create(&raw mut thread, std::ptr::null(), wait, none);
                // The thread alone; exit(3) would end the process.
                libc::syscall(libc::SYS_exit, 0);
            }
        }
        Headless(Pid::from_raw(pid))
    }

    pub(crate) fn pid(&self) -> u32 {
        self.0.as_raw().cast_unsigned()
    }

    /// Whether the first thread has ended: `Z`, and it has files open no more.
    pub(crate) fn has_lost_its_head(&self) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.0)).unwrap_or_default();
        stat.rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with('Z'))
    }
}

extern "C" fn wait(_: *mut c_void) -> *mut c_void {
    loop {
        // SAFETY: waits for a signal.
        unsafe { libc::pause() };
    }
}

impl Drop for Headless {
    fn drop(&mut self) {
        let _ = kill(self.0, Signal::SIGKILL);
        let _ = waitpid(self.0, None);
    }
}
