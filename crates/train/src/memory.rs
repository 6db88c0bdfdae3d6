//! How much memory the process took.

use std::fs;

/// The largest resident set this process had so far, in bytes; `None` where the system does not say
/// (it is Linux's `VmHWM`).
pub fn peak_rss_bytes() -> Option<u64> {
    parse(&fs::read_to_string("/proc/self/status").ok()?, "VmHWM:")
}

/// The resident set that this process has now, in bytes; `None` where the system does not say (it is
/// Linux's `VmRSS`).
pub fn rss_bytes() -> Option<u64> {
    parse(&fs::read_to_string("/proc/self/status").ok()?, "VmRSS:")
}

fn parse(status: &str, key: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(key))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_from_the_status_file() {
        let status =
            "Name:\tkiln\nVmPeak:\t  9000 kB\nVmHWM:\t    1234 kB\nVmRSS:\t 600 kB\nThreads:\t2\n";
        assert_eq!(parse(status, "VmHWM:"), Some(1234 * 1024));
        assert_eq!(parse(status, "VmRSS:"), Some(600 * 1024));
        assert_eq!(parse("Name:\tkiln\n", "VmHWM:"), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn linux_says_it() {
        let held = vec![1u8; 32 << 20];
        let (now, peak) = (rss_bytes().unwrap(), peak_rss_bytes().unwrap());
        assert!(now >= held.len() as u64 && peak >= now);
    }
}
