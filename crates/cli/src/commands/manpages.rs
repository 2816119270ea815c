//! `manpages`

use std::fs;
use std::io::Write;
use std::path::Path;

use clap_mangen::Man;
use ulvm::error::{Error, Result};

use crate::args::{self, Args};
use crate::context::Context;
use crate::dispatch::{COMMANDS, Command};

/// Writes a page for each command, and one for ulvm as a whole.
pub fn run(ctx: &Context, args: &Args) -> Result<()> {
    let [directory] = args.operands() else {
        return Err(Error::usage("Please name one directory."));
    };
    let directory = Path::new(directory);
    let write = |name: String, page: Vec<u8>| {
        let path = directory.join(name);
        fs::write(&path, page).map_err(|e| Error::io(format!("write {}", path.display()), e))
    };
    fs::create_dir_all(directory)
        .map_err(|e| Error::io(format!("create {}", directory.display()), e))?;
    for command in COMMANDS {
        write(format!("ulvm-{}.8", command.name), page(command))?;
    }
    write("ulvm.8".to_owned(), overview())?;
    ctx.terminal()
        .line(&format!("{} manual pages written.", COMMANDS.len() + 1));
    Ok(())
}

fn page(command: &Command) -> Vec<u8> {
    let title = format!("ulvm-{}", command.name);
    let man = Man::new(
        args::builder(command)
            .version(env!("CARGO_PKG_VERSION"))
            .display_name(&title),
    )
    .title(&title)
    .section("8")
    .manual("ulvm");
    let mut out = Vec::new();
    // Writing to memory does not fail.
    let _ = man.render(&mut out);
    out
}

fn overview() -> Vec<u8> {
    let mut out = Vec::new();
    let mut commands: Vec<&Command> = COMMANDS.iter().collect();
    commands.sort_by_key(|c| c.name);
    let _ = write!(
        out,
        ".TH ulvm 8 \"\" \"ulvm {}\" ulvm\n.SH NAME\nulvm \\- LVM2 volumes without the kernel's device\\-mapper\n\
         .SH SYNOPSIS\n\\fBulvm\\fR \\fICOMMAND\\fR [\\fIOPTIONS\\fR] [\\fIOPERANDS\\fR]\n.SH COMMANDS\n",
        env!("CARGO_PKG_VERSION")
    );
    for command in commands {
        let _ = write!(out, ".TP\n\\fB{}\\fR\n{}\n", command.name, command.summary);
    }
    let _ = write!(
        out,
        ".SH ENVIRONMENT\n\
         .TP\n\\fBULVM_DEVICES\\fR\nDevices and image files, as with \\-\\-devices.\n\
         .TP\n\\fBULVM_LOCK_DIR\\fR, \\fBULVM_RUN_DIR\\fR\nDirectories of locks and of run-time files.\n\
         .TP\n\\fBLVM_SYSTEM_DIR\\fR\nDirectory of lvm.conf, backups and archives.\n\
         .SH EXIT STATUS\n0 done, 2 no such command, 3 wrong command line, 4 cannot start, 5 failed.\n"
    );
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_name_the_options() {
        let lvs = COMMANDS.iter().find(|c| c.name == "lvs").unwrap();
        let text = String::from_utf8(page(lvs)).unwrap();
        assert!(
            text.contains("ulvm") && text.contains("segments") && text.contains("noheadings"),
            "{text}"
        );
        assert!(String::from_utf8(overview()).unwrap().contains("pvcreate"));
    }
}
