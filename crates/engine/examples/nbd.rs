//! Serves a table over NBD: `nbd TABLE-FILE ADDRESS [NAME] [QUEUES]`. Ends when its input ends.

use std::io::Read;
use std::sync::Arc;

use ulvm_engine::backend::OpenHow;
use ulvm_engine::device::Device;
use ulvm_engine::export::nbd::{Export, Exports, Limits, Listener, Server};
use ulvm_engine::limits::Settings;
use ulvm_engine::queue::Engine;
use ulvm_engine::table_text::{OpenPaths, parse};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let (Some(table), Some(address)) = (words.first(), words.get(1)) else {
        return Err("usage: nbd TABLE-FILE ADDRESS [NAME] [QUEUES]".into());
    };
    let name = words.get(2).map_or("demo", String::as_str);
    let mut settings = Settings::default();
    if let Some(queues) = words.get(3) {
        settings.queues = queues.parse()?;
    }
    let text = std::fs::read_to_string(table)?;
    let mut paths = OpenPaths::new(OpenHow::default());
    let table = parse(&text, &mut paths)?;
    let exports = Arc::new(Exports::default());
    let export = Export {
        device: Device::with_table(name, table),
        description: String::new(),
        read_only: false,
    };
    exports.add(name, export);
    let listener = Listener::bind(&address.parse()?)?;
    let engine = Engine::start(&settings)?;
    println!("{} by {}", listener.address(), engine.driver());
    let _server = Server::start(&engine, vec![listener], exports, Limits::default());
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}
