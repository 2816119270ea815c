//! What live volumes lie on is kept from commands that do not speak to their daemon.

use ulvm_test_support::ensure;
use ulvm_test_support::process::Finished;
use ulvm_test_support::suite::{Outcome, Suite};

use crate::host::{FUSE, Host};

pub fn cases(suite: &mut Suite) {
    suite.case("activation::claims::each_volume_has_its_own", &FUSE, each);
    suite.case("activation::claims::outlive_processes", &FUSE, outlive);
}

/// The command with another run directory, where no daemon is.
fn elsewhere(host: &Host, line: &str) -> Result<Finished, String> {
    let dir = host.run_dir().with_file_name("elsewhere");
    std::fs::create_dir_all(&dir).map_err(|e| e.to_string())?;
    let mut command = host.command(line);
    command.env("ULVM_RUN_DIR", dir);
    ulvm_test_support::process::run(&mut command, &[], std::time::Duration::from_secs(60))
}

fn refused(host: &Host, line: &str) -> Outcome {
    let done = elsewhere(host, line)?;
    ensure!(done.code == 5, "{line} ended with {}", done.code);
    ensure!(done.err().contains("in use"), "{line}: {}", done.err());
    Ok(())
}

fn each() -> Outcome {
    let host = Host::new()?;
    host.ok("lvchange -ay --export fuse vg/linear")?;
    host.ok("lvchange -ay --export fuse vg/striped")?;
    refused(&host, "lvremove -f vg/linear")?;
    refused(&host, "lvremove -f vg/striped")?;
    // Nothing is taken away by these.
    elsewhere(&host, "lvcreate -an -n other -L 4M vg")?.success("lvcreate")?;
    // A device that is removed gives back what was its own, and nothing else.
    host.ok("lvchange -an vg/striped")?;
    refused(&host, "lvremove -f vg/linear")?;
    elsewhere(&host, "lvremove -f vg/striped")?.success("lvremove")?;
    // Commands that speak to the daemon may do all they could.
    host.ok("lvreduce -f -L 16M vg/linear")?;
    refused(&host, "lvreduce -f -L 8M vg/linear")?;
    host.ok("lvchange -an vg/linear")?;
    elsewhere(&host, "lvremove -f vg/linear")?.success("lvremove")?;
    Ok(())
}

fn outlive() -> Outcome {
    let host = Host::new()?;
    host.ok("lvchange -ay --export fuse vg/linear")?;
    host.kill("worker_pid")?;
    refused(&host, "lvremove -f vg/linear")?;
    host.pid("worker_pid")?;
    host.kill("supervisor_pid")?;
    refused(&host, "lvremove -f vg/linear")?;
    host.ok("lvchange -ay --export fuse vg/striped")?;
    refused(&host, "lvremove -f vg/linear")?;
    host.ok("lvchange -an vg/linear")?;
    elsewhere(&host, "lvremove -f vg/linear")?.success("lvremove")?;
    refused(&host, "lvremove -f vg/striped")
}
