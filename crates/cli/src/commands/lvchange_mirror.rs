//! What lvchange does to mirrors alone: recovery rates, images that are read last, resyncs.

use ulvm::error::{Error, Result};
use ulvm::mirror_marks::{forget_all, sync};
use ulvm::session::Session;
use ulvm_metadata::model::LvKey;
use ulvm_metadata::ops::lv_tree::full_name;
use ulvm_metadata::ops::mirror::{Mostly, Tune, tune};

use super::lv_args::{Draft, pv_args};
use super::lv_mirror_args::{MAX_RATE, MIN_RATE, rate};
use super::vg_args::done;
use crate::args::{Args, Opt};

/// Options that need an LV which is active.
const LIVE: [(Opt, &str); 4] = [
    (
        Opt::Syncaction,
        "Unable to send message to an inactive logical volume.",
    ),
    (
        Opt::Raidsyncaction,
        "Unable to send message to an inactive logical volume.",
    ),
    (
        Opt::Rebuild,
        "Only the images of an active logical volume are rebuilt.",
    ),
    (
        Opt::Raidrebuild,
        "Only the images of an active logical volume are rebuilt.",
    ),
];

/// Is any of these changes asked for?
pub fn any(args: &Args) -> bool {
    let own = [
        Opt::Resync,
        Opt::Writebehind,
        Opt::Raidwritebehind,
        Opt::Writemostly,
        Opt::Raidwritemostly,
    ];
    let rates = MIN_RATE.into_iter().chain(MAX_RATE);
    let live = LIVE.into_iter().map(|(opt, _)| opt);
    own.into_iter()
        .chain(rates)
        .chain(live)
        .any(|opt| args.has(opt))
}

/// Makes the changes asked for, each committed on its own as LVM2 does.
pub fn change(session: &mut Session, draft: &mut Draft, lv: LvKey, args: &Args) -> Result<()> {
    if let Some((_, why)) = LIVE.iter().find(|(opt, _)| args.has(*opt)) {
        return Err(Error::refused(*why));
    }
    let name = full_name(draft.vg(), lv);
    for what in asked(session, draft, args)? {
        let marks = sync(session, draft.read(), lv)?;
        let changed = done(session, tune(draft.vg(), lv, &what, marks))?;
        if what == Tune::Resync {
            forget_all(session, draft.read(), lv)?;
        }
        draft.change(changed.vg);
        draft.commit(session)?;
        if what != Tune::Resync {
            let text = format!("Logical volume {name} changed.");
            session.ui().print(text);
        }
    }
    Ok(())
}

fn asked(session: &Session, draft: &Draft, args: &Args) -> Result<Vec<Tune>> {
    let mut out = Vec::new();
    if args.has(Opt::Resync) {
        out.push(Tune::Resync);
    }
    let mut mostly = Vec::new();
    let words = args.texts(Opt::Writemostly);
    for word in words.chain(args.texts(Opt::Raidwritemostly)) {
        let (pv, how) = match word.rsplit_once(':') {
            Some((pv, "y")) => (pv, Mostly::Yes),
            Some((pv, "n")) => (pv, Mostly::No),
            Some((pv, "t")) => (pv, Mostly::Toggle),
            _ => (word, Mostly::Yes),
        };
        let named = pv_args(session, draft.read(), &[pv.to_owned()])?;
        mostly.extend(named.iter().map(|arg| (arg.pv, how)));
    }
    if !mostly.is_empty() {
        out.push(Tune::WriteMostly(mostly));
    }
    let behind = args.number(Opt::Writebehind);
    if let Some(count) = behind.or_else(|| args.number(Opt::Raidwritebehind)) {
        let count = u32::try_from(count)
            .map_err(|_| Error::usage("Invalid argument for --writebehind: out of range."))?;
        out.push(Tune::WriteBehind(count));
    }
    out.extend(rate(args, MIN_RATE)?.map(Tune::MinRate));
    out.extend(rate(args, MAX_RATE)?.map(Tune::MaxRate));
    Ok(out)
}
