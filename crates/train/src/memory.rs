//! How much memory the process took.

use std::fs;

/// The largest resident set this process had so far, in bytes; `None` where the system does not say
/// (it is Linux's `VmHWM`).
pub fn peak_rss_bytes() -> Option<u64> {
    parse(&fs::read_to_string("/proc/self/status").ok()?)
}

fn parse(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_peak_is_read_from_the_status_file() {
        let status = "Name:\tkiln\nVmPeak:\t  9000 kB\nVmHWM:\t    1234 kB\nThreads:\t2\n";
        assert_eq!(parse(status), Some(1234 * 1024));
        assert_eq!(parse("Name:\tkiln\n"), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn linux_says_it() {
        let held = vec![1u8; 32 << 20];
        assert!(peak_rss_bytes().unwrap() >= held.len() as u64);
    }
}
