//! Allocation policies.

/// How extents are chosen.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum AllocPolicy {
    /// Directly behind the LV's last extent.
    Contiguous,
    /// On the PVs the LV already uses.
    Cling,
    /// Cling, PVs with a common tag count as one. Never chosen by a user directly.
    ClingByTags,
    /// Parallel areas on different PVs.
    #[default]
    Normal,
    /// Anywhere, even parallel areas on one PV.
    Anywhere,
    /// As the VG says (LVs only).
    Inherit,
}

impl AllocPolicy {
    /// All, with the word used in metadata and on command lines and the character in attr strings.
    pub const TABLE: [(Self, &'static str, char); 6] = [
        (Self::Contiguous, "contiguous", 'c'),
        (Self::Cling, "cling", 'l'),
        (Self::ClingByTags, "cling_by_tags", 'C'),
        (Self::Normal, "normal", 'n'),
        (Self::Anywhere, "anywhere", 'a'),
        (Self::Inherit, "inherit", 'i'),
    ];
    /// From the word.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::TABLE.iter().find(|r| r.1 == word).map(|r| r.0)
    }
    /// The word.
    pub fn word(self) -> &'static str {
        Self::TABLE
            .iter()
            .find(|r| r.0 == self)
            .map_or("normal", |r| r.1)
    }
    /// The character of attr strings.
    pub fn letter(self) -> char {
        Self::TABLE
            .iter()
            .find(|r| r.0 == self)
            .map_or('n', |r| r.2)
    }
}
