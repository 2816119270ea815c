//! What the kernel says of a device from a moment on.

use ulvm_test_support::process;

/// The kernel's log from a moment on.
pub struct KernelLog(f64);

impl KernelLog {
    /// From now on.
    pub fn begin() -> Result<KernelLog, String> {
        let lines = lines()?;
        Ok(KernelLog(lines.last().map_or(0.0, |(time, _)| *time)))
    }

    /// Lines that tell of an error of that device (`loop3`), or of a file system on it.
    pub fn errors(&self, device: &str) -> Result<Vec<String>, String> {
        let of_it = |text: &str| {
            text.split(|c: char| !c.is_alphanumeric())
                .any(|w| w == device)
        };
        let wrong = |text: &str| {
            let text = text.to_lowercase();
            ["error", "corrupt", "shut down", "failed", "abort"]
                .iter()
                .any(|word| text.contains(word))
        };
        let lines = lines()?.into_iter();
        let lines = lines.filter(|(time, text)| *time > self.0 && of_it(text) && wrong(text));
        Ok(lines.map(|(_, text)| text).collect())
    }
}

/// Seconds and text of each line.
fn lines() -> Result<Vec<(f64, String)>, String> {
    let told = process::output("dmesg", &["--kernel"])?.success("dmesg")?;
    let line = |line: &str| {
        let (time, text) = line.strip_prefix('[')?.split_once("] ")?;
        Some((time.trim().parse().ok()?, text.to_owned()))
    };
    Ok(told.out().lines().filter_map(line).collect())
}
