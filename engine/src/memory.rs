//! Memory that is free, given back to the system.

/// Gives back what was freed. glibc keeps it for the thread that had it, and what another needs comes on top: a body that was received, samples that
/// were decoded and features that wait are each another thread's. To be called when much was freed; takes some milliseconds.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[allow(unsafe_code, reason = "a call without arguments that matter, at any time, from any thread")]
pub fn give_back_memory() {
    // SAFETY: malloc_trim touches nothing that is allocated, and takes the locks that it needs.
    unsafe { libc::malloc_trim(0) };
}

/// Other allocators do so by themselves.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub fn give_back_memory() {}
