//! The server: one task that accepts clients, and on each queue one that takes its share of them.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{SocketFlags, sockopt};

use super::connection::{Connection, Place, Shared};
use super::exports::Exports;
use super::limits::Limits;
use super::listener::{Listener, Name};
use crate::buf::Budget;
use crate::queue::{Cx, Engine, Event, Interest, Task, TaskRef};

/// Clients accepted for one readiness.
const ACCEPTS: usize = 64;
/// How long no client is accepted after the process ran out of descriptors or memory.
const PAUSE: Duration = Duration::from_millis(100);
/// Asked of the kernel for each client's socket, in bytes: the replies of a whole queue of requests.
/// The kernel's own limit stands.
const SOCKET_BUFFER: usize = 1 << 20;

/// A running server. It ends with its engine: what is under way is finished and answered, and
/// nothing new is taken in. Flushing the devices is up to who has opened them.
#[derive(Debug)]
pub struct Server {
    shared: Arc<Shared>,
}

impl Server {
    /// Begins to serve.
    pub fn start(
        engine: &Engine,
        listeners: Vec<Listener>,
        exports: Arc<Exports>,
        limits: Limits,
    ) -> Self {
        let shared = Arc::new(Shared {
            exports,
            budget: Budget::new(limits.total.max(limits.largest())),
            limits,
            clients: AtomicUsize::new(0),
        });
        let hosts: Vec<TaskRef> = (0..engine.queues())
            .map(|queue| engine.spawn(Some(queue), Box::new(Host)))
            .collect();
        for (n, listener) in listeners.into_iter().enumerate() {
            let (socket, name) = listener.into_parts();
            // The first clients go to a queue that has no listener, where there is one.
            let acceptor = Acceptor {
                socket: Arc::new(socket),
                _name: name,
                shared: Arc::clone(&shared),
                hosts: hosts.clone(),
                next: n + 1,
            };
            engine.spawn(Some(n), Box::new(acceptor));
        }
        Self { shared }
    }

    /// Clients there are now.
    pub fn clients(&self) -> usize {
        self.shared.clients.load(Ordering::Acquire)
    }

    /// Bytes of clients' data that are held now.
    pub fn held(&self) -> usize {
        self.shared.budget.used()
    }

    /// The exports.
    pub fn exports(&self) -> &Arc<Exports> {
        &self.shared.exports
    }
}

/// Begins the connections of its queue.
#[derive(Debug)]
struct Host;

impl Task for Host {
    fn start(&mut self, _: &mut Cx<'_>) {}
    fn event(&mut self, cx: &mut Cx<'_>, event: Event) {
        match event {
            Event::Message(what) => {
                if let Ok(connection) = what.downcast::<Connection>() {
                    cx.spawn(connection);
                }
            }
            Event::Stop => cx.exit(),
            Event::Done(_) | Event::Ready(..) | Event::Timer(_) | Event::Command(_) => {}
        }
    }
}

#[derive(Debug)]
struct Acceptor {
    socket: Arc<OwnedFd>,
    /// Keeps the name of a unix socket as long as somebody listens there.
    _name: Option<Name>,
    shared: Arc<Shared>,
    hosts: Vec<TaskRef>,
    next: usize,
}

impl Acceptor {
    fn watch(&self, cx: &mut Cx<'_>) {
        let interest = Interest {
            read: true,
            write: false,
        };
        if cx.watch(&self.socket, interest).is_err() {
            cx.timer(PAUSE, 0);
        }
    }

    fn accept(&mut self, cx: &mut Cx<'_>) {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        for _ in 0..ACCEPTS {
            match rustix::net::accept_with(&self.socket, flags) {
                Ok(client) => self.welcome(client),
                Err(Errno::AGAIN) => break,
                Err(Errno::INTR | Errno::CONNABORTED) => {}
                // Out of descriptors or memory: others may give some back.
                Err(_) => {
                    cx.timer(PAUSE, 0);
                    return;
                }
            }
        }
        self.watch(cx);
    }

    fn welcome(&mut self, client: OwnedFd) {
        let Some(place) = Place::take(&self.shared) else {
            return;
        };
        // None of these is needed for right answers. The first two fail on unix sockets.
        let _ = sockopt::set_tcp_nodelay(&client, true);
        let _ = sockopt::set_socket_keepalive(&client, true);
        let _ = sockopt::set_socket_send_buffer_size(&client, SOCKET_BUFFER);
        let host = &self.hosts[self.next % self.hosts.len()];
        self.next = self.next.wrapping_add(1);
        host.tell(Box::new(Connection::new(client, place)));
    }
}

impl Task for Acceptor {
    fn start(&mut self, cx: &mut Cx<'_>) {
        self.watch(cx);
    }

    fn event(&mut self, cx: &mut Cx<'_>, event: Event) {
        match event {
            Event::Ready(..) | Event::Timer(_) => self.accept(cx),
            Event::Stop => {
                self.shared.exports.end();
                cx.exit();
            }
            Event::Done(_) | Event::Message(_) | Event::Command(_) => {}
        }
    }
}
