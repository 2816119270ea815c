//! `ls --tree`: devices with what they lie on below them, or the other way round.

use ulvm::daemon::dm::DmDevice;
use ulvm::error::Result;

use super::session::Session;
use super::{show, wrong};
use crate::args::Opt;

/// Deeper than any stack of devices; what lies deeper is not drawn.
const DEPTH_MAX: usize = 64;

/// What is shown, and with which signs.
#[derive(Clone, Debug)]
pub struct Options {
    device: bool,
    kernel_name: bool,
    active: bool,
    open: bool,
    rw: bool,
    uuid: bool,
    compact: bool,
    inverted: bool,
    signs: &'static Signs,
}

/// Signs of lines: a branch with more below, the last branch, a line that passes, and where nothing
/// passes; then those of the compact form: one child, the first of several.
#[derive(Debug)]
struct Signs {
    branch: &'static str,
    last: &'static str,
    pass: &'static str,
    only: &'static str,
    first: &'static str,
}

const ASCII: Signs = Signs {
    branch: "|-",
    last: "`-",
    pass: "| ",
    only: "---",
    first: "-+-",
};
const UTF: Signs = Signs {
    branch: "├─",
    last: "└─",
    pass: "│ ",
    only: "───",
    first: "─┬─",
};
const VT100: Signs = Signs {
    branch: "\x1b(0\x0ftq\x1b(B",
    last: "\x1b(0\x0fmq\x1b(B",
    pass: "\x1b(0\x0fx\x1b(B ",
    only: "\x1b(0\x0fqqq\x1b(B",
    first: "\x1b(0\x0fqwq\x1b(B",
};

impl Options {
    /// Those of `-o`.
    pub fn of(session: &Session<'_>) -> Result<Self> {
        let mut out = Self {
            device: true,
            kernel_name: false,
            active: false,
            open: false,
            rw: false,
            uuid: false,
            compact: false,
            inverted: false,
            signs: &ASCII,
        };
        let lists = session.args.texts(Opt::Options);
        for word in lists.flat_map(|list| list.split(',')) {
            match word {
                "ascii" => out.signs = &ASCII,
                "utf" => out.signs = &UTF,
                "vt100" => out.signs = &VT100,
                "compact" => out.compact = true,
                "inverted" => out.inverted = true,
                // Lines are never cut.
                "notrunc" => {}
                "device" => out.device = true,
                "nodevice" => out.device = false,
                "blkdevname" => out.kernel_name = true,
                "active" => out.active = true,
                "open" => out.open = true,
                "rw" => out.rw = true,
                "uuid" => out.uuid = true,
                _ => return Err(wrong(format!("Tree options not recognised: {word}."))),
            }
        }
        Ok(out)
    }
}

/// A node: a device of ours, or what one lies on.
struct Node<'d> {
    device: Option<&'d DmDevice>,
    /// What makes it the same as another.
    key: String,
    number: Option<(u32, u32)>,
    below: Vec<usize>,
    above: Vec<usize>,
}

/// Every device with what it lies on. Those without something above, or below, in the order in
/// which they were come to.
struct Forest<'d> {
    nodes: Vec<Node<'d>>,
    bottom: Vec<usize>,
}

impl<'d> Forest<'d> {
    fn of(devices: &'d [DmDevice]) -> Self {
        let mut forest = Self {
            nodes: Vec::new(),
            bottom: Vec::new(),
        };
        for device in devices {
            forest.device(devices, device);
        }
        forest
    }

    fn device(&mut self, devices: &'d [DmDevice], device: &'d DmDevice) -> usize {
        let key = key_of(Some(device.number), "");
        if let Some(at) = self.nodes.iter().position(|n| n.key == key) {
            return at;
        }
        let at = self.push(Some(device), key, Some(device.number));
        let deps = device.live.as_ref().map_or(&[][..], |t| t.deps.as_slice());
        if deps.is_empty() {
            self.bottom.push(at);
        }
        for dep in deps {
            let path = dep
                .path
                .as_ref()
                .map_or(String::new(), |p| p.display().to_string());
            let key = key_of(dep.number, &path);
            let ours = devices.iter().find(|d| Some(d.number) == dep.number);
            let known = self.nodes.iter().position(|n| n.key == key);
            let below = match (ours, known) {
                (_, Some(below)) => below,
                (Some(device), None) => self.device(devices, device),
                (None, None) => {
                    let below = self.push(None, key, dep.number);
                    self.bottom.push(below);
                    below
                }
            };
            self.nodes[at].below.push(below);
            self.nodes[below].above.push(at);
        }
        at
    }

    fn push(
        &mut self,
        device: Option<&'d DmDevice>,
        key: String,
        number: Option<(u32, u32)>,
    ) -> usize {
        self.nodes.push(Node {
            device,
            key,
            number,
            below: Vec::new(),
            above: Vec::new(),
        });
        self.nodes.len() - 1
    }
}

fn key_of(number: Option<(u32, u32)>, path: &str) -> String {
    match number {
        Some((major, minor)) => format!("{major}:{minor}"),
        None => path.to_owned(),
    }
}

/// The whole tree as text.
pub fn draw(session: &Session<'_>, devices: &[DmDevice], options: &Options) -> String {
    let forest = Forest::of(devices);
    let mut pen = Pen {
        session,
        options,
        forest: &forest,
        out: String::new(),
    };
    let roots: Vec<usize> = match options.inverted {
        true => forest.bottom.clone(),
        // In the order of the names, which is that of the devices.
        false => {
            let tops = devices.iter().filter_map(|d| {
                let key = key_of(Some(d.number), "");
                forest.nodes.iter().position(|n| n.key == key)
            });
            tops.filter(|n| forest.nodes[*n].above.is_empty()).collect()
        }
    };
    for root in roots {
        if pen.visible(root) {
            let label = pen.label(root);
            pen.out.push_str(&label);
            // Lines below begin under the sign behind the label.
            let prefix = match options.compact {
                true => " ".repeat(label.chars().count() + 1),
                false => " ".to_owned(),
            };
            pen.children(root, &prefix, 0);
        }
    }
    pen.out
}

struct Pen<'p, 'd> {
    session: &'p Session<'p>,
    options: &'p Options,
    forest: &'p Forest<'d>,
    out: String,
}

impl Pen<'_, '_> {
    /// What has no name is nothing without its number.
    fn visible(&self, node: usize) -> bool {
        let node = &self.forest.nodes[node];
        node.device.is_some() || self.options.device || self.options.kernel_name
    }

    fn label(&self, node: usize) -> String {
        let node = &self.forest.nodes[node];
        let mut out = node
            .device
            .map_or(String::new(), |d| self.session.shown(&d.name));
        let kernel = node.number.and_then(show::kernel_name);
        if let (Some(kernel), true) = (kernel, self.options.kernel_name) {
            out.push_str(&format!(" <{kernel}>"));
        }
        if self.options.device {
            match node.number {
                Some((major, minor)) => out.push_str(&format!(" ({major}:{minor})")),
                None => out.push_str(&format!(" ({})", node.key)),
            }
        }
        if let Some(device) = node.device {
            out.push_str(&self.marks(device));
        }
        out
    }

    fn marks(&self, device: &DmDevice) -> String {
        let o = self.options;
        let mut marks = Vec::new();
        if o.active {
            marks.push(
                if device.suspended {
                    "SUSPENDED"
                } else {
                    "ACTIVE"
                }
                .to_owned(),
            );
        }
        if o.rw {
            marks.push(if device.read_only { "RO" } else { "RW" }.to_owned());
        }
        if o.open {
            marks.push(device.open.unwrap_or(0).to_string());
        }
        if o.uuid {
            marks.push(self.session.shown(&device.uuid));
        }
        match o.active || o.rw || o.open || o.uuid {
            true => format!(" [{}]", marks.join(", ")),
            false => String::new(),
        }
    }

    /// What lies below a node whose label stands at the end of the text.
    fn children(&mut self, node: usize, prefix: &str, depth: usize) {
        let node = &self.forest.nodes[node];
        let next = match self.options.inverted {
            true => &node.above,
            false => &node.below,
        };
        let next: Vec<usize> = next.iter().copied().filter(|n| self.visible(*n)).collect();
        if next.is_empty() || depth >= DEPTH_MAX {
            self.out.push('\n');
            return;
        }
        let signs = self.options.signs;
        if !self.options.compact {
            self.out.push('\n');
        }
        for (n, child) in next.iter().enumerate() {
            let (first, last) = (n == 0, n + 1 == next.len());
            let sign = match (self.options.compact, first, last) {
                (true, true, true) => signs.only,
                (true, true, false) => signs.first,
                (_, _, true) => signs.last,
                (_, _, false) => signs.branch,
            };
            let same_line = self.options.compact && first;
            if !same_line {
                self.out.push_str(prefix);
            }
            let label = self.label(*child);
            self.out.push_str(sign);
            self.out.push_str(&label);
            let pass = if last { "  " } else { signs.pass };
            let room = match self.options.compact {
                true => label.chars().count() + 1,
                false => 1,
            };
            let below = format!("{prefix}{pass}{}", " ".repeat(room));
            self.children(*child, &below, depth + 1);
        }
    }
}
