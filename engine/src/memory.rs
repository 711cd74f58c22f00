//! Returns freed memory to the system.

/// Returns freed memory to the system. glibc keeps freed memory for the thread that used it, so memory for other threads
/// comes on top of it. Received bodies, decoded samples and waiting features each belong to a different thread. Call this
/// after freeing much memory. It takes some milliseconds.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[allow(unsafe_code, reason = "a call without arguments that matter, at any time, from any thread")]
pub fn give_back_memory() {
    // SAFETY: `malloc_trim` touches no allocated memory, and takes the locks that it needs.
    unsafe { libc::malloc_trim(0) };
}

/// Does nothing, because other allocators return freed memory without a call.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub fn give_back_memory() {}
