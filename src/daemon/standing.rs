//! What `--status` says of processes: what a kill of each means here, and what keeps the system from
//! stopping it.

use super::proto::{Kill, ProcessStatus, Standing};

/// The first Linux that sends requests of FUSE again.
const RESENDS_SINCE: (u32, u32) = (6, 9);

/// What kills mean. `files`: the kernel sends requests for files again, which is known for certain once
/// one has been shown; `blocks`: it keeps ublk devices for another worker (the same); `nbd`: there are
/// exports to NBD clients; `stored`: a service manager keeps descriptors.
pub fn kill(files: Option<bool>, blocks: Option<bool>, nbd: bool, stored: bool) -> Kill {
    let release = rustix::system::uname();
    let release = release.release().to_string_lossy();
    let resends = files.unwrap_or_else(|| sends_again(&release));
    let survived = resends && blocks != Some(false);
    let mut worker = match (resends, blocks, files) {
        (false, ..) => format!(
            "not survived: I/O under way on files and loop devices fails, since this kernel ({release}) cannot send requests again (Linux 6.9 and later can)"
        ),
        (_, Some(false), _) => {
            "not survived: ublk devices end, and their I/O fails: the kernel keeps those of root only"
                .to_owned()
        }
        (_, None, None) => "nothing: no device is shown".to_owned(),
        _ => "consumers of files, loop and ublk devices see a pause".to_owned(),
    };
    if nbd {
        worker.push_str("; NBD clients that connect again see a pause, others a disconnect");
    }
    let both = match stored && survived {
        true => {
            "consumers of files, loop and ublk devices see a pause: the service manager keeps what a new start needs"
        }
        false => {
            "files and loop devices give errors, ublk devices wait; the next start takes them away"
        }
    };
    Kill {
        worker_survived: survived,
        worker,
        supervisor: "nothing: the worker serves on, and the next start takes over from it; until then a kill of the worker is not survived".to_owned(),
        both: both.to_owned(),
    }
}

/// Each process by itself, of `[worker, supervisor]`.
pub fn processes(
    [worker, supervisor]: [(Option<u32>, Standing); 2],
    scribe: Option<u32>,
    kill: &Kill,
) -> Vec<ProcessStatus> {
    let process = |role: &str, pid, standing, kill: &str| ProcessStatus {
        role: role.to_owned(),
        pid,
        standing,
        kill: kill.to_owned(),
    };
    let logs = "nothing: another one is started, and events wait for it";
    vec![
        process(
            "supervisor",
            supervisor.0,
            Some(supervisor.1),
            &kill.supervisor,
        ),
        process("worker", worker.0, Some(worker.1), &kill.worker),
        process("scribe", scribe, None, logs),
    ]
}

/// What is locked in memory. `limit` is how many bytes a user may lock.
pub fn memory(supervisor: Standing, worker: Standing, limit: Option<u64>) -> String {
    if supervisor.memory_locked && worker.memory_locked {
        return "locked".to_owned();
    }
    let limit = match limit {
        Some(bytes) if bytes >= 1 << 20 => format!("{} MiB", bytes >> 20),
        Some(bytes) => format!("{} KiB", bytes >> 10),
        None => "none".to_owned(),
    };
    format!(
        "not locked: without root the limit for locked memory holds (here {limit}; 8 MiB by default); request memory is touched beforehand"
    )
}

/// Does a kernel of this release send requests again?
fn sends_again(release: &str) -> bool {
    let mut parts = release.split(|c: char| !c.is_ascii_digit());
    let mut number = || parts.next()?.parse::<u32>().ok();
    match (number(), number()) {
        (Some(major), Some(minor)) => (major, minor) >= RESENDS_SINCE,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_kernels_are_told_of() {
        for (release, sends) in [
            ("6.9.0-rc1", true),
            ("6.12", true),
            ("7.0.1", true),
            ("6.8.12-amd64", false),
            ("5.15.0", false),
            ("x", false),
        ] {
            assert_eq!(sends_again(release), sends, "{release}");
        }
        let old = kill(Some(false), None, true, true);
        assert!(!old.worker_survived);
        assert!(old.worker.contains("not survived"), "{}", old.worker);
        assert!(old.worker.contains("NBD"), "{}", old.worker);
        assert!(old.both.contains("errors"), "{}", old.both);
        let user = kill(Some(true), Some(false), false, true);
        assert!(!user.worker_survived && user.worker.contains("ublk"));
        let stored = kill(Some(true), None, false, true);
        assert!(stored.worker_survived && stored.both.contains("pause"));
    }

    #[test]
    fn the_limit_for_locked_memory_is_named() {
        let locked = Standing {
            memory_locked: true,
            ..Standing::default()
        };
        assert_eq!(memory(locked, locked, Some(0)), "locked");
        let text = memory(locked, Standing::default(), Some(8 << 20));
        assert!(text.contains("here 8 MiB"), "{text}");
    }
}
