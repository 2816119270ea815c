//! Where messages and questions go. The command line implements it over a terminal, tests over a
//! list.

use std::cell::RefCell;

use ulvm_metadata::notice::{Level, Notice};

/// The user. Methods take `&self` so that a message can be said while a session is borrowed.
pub trait Ui {
    /// Tells the user something.
    fn say(&self, notice: &Notice);
    /// Asks a yes/no question (without `[y/n]`); false when nobody can answer.
    fn ask(&self, question: &str) -> bool;
    /// Shows what was said now, not when the command ends: for those that take long.
    fn flush(&self) {}
}

impl dyn Ui + '_ {
    /// A warning; `WARNING: ` is put before the text.
    pub fn warn(&self, text: impl AsRef<str>) {
        self.say(&Notice::warn(text));
    }
    /// Standard output, hidden by `-q`.
    pub fn print(&self, text: impl Into<String>) {
        self.say(&Notice::print(text));
    }
    /// Shown with `-v`.
    pub fn verbose(&self, text: impl Into<String>) {
        self.say(&Notice::verbose(text));
    }
    /// An error line on standard error, for commands that go on with other objects.
    pub fn error(&self, text: impl Into<String>) {
        self.say(&Notice {
            level: Level::Error,
            text: text.into(),
        });
    }
}

/// Remembers what was said and answers every question alike; for tests.
#[derive(Debug, Default)]
pub struct Recorder {
    /// Everything said, in order.
    pub said: RefCell<Vec<Notice>>,
    /// Every question, in order.
    pub asked: RefCell<Vec<String>>,
    /// The answer to every question.
    pub answer: bool,
}

impl Recorder {
    /// Texts said at warning level or above.
    pub fn warnings(&self) -> Vec<String> {
        let said = self.said.borrow();
        said.iter()
            .filter(|n| n.level <= Level::Warn)
            .map(|n| n.text.clone())
            .collect()
    }
}

impl Ui for Recorder {
    fn say(&self, notice: &Notice) {
        self.said.borrow_mut().push(notice.clone());
    }
    fn ask(&self, question: &str) -> bool {
        self.asked.borrow_mut().push(question.to_owned());
        self.answer
    }
}

impl<T: Ui + ?Sized> Ui for std::rc::Rc<T> {
    fn say(&self, notice: &Notice) {
        (**self).say(notice);
    }
    fn ask(&self, question: &str) -> bool {
        (**self).ask(question)
    }
    fn flush(&self) {
        (**self).flush();
    }
}
