# Builds and installs ulvm.
#
#   make                        the program, without libraries of its own to load
#   make install                below PREFIX (/usr/local), in DESTDIR if given
#   make install LVM2_LINKS=yes the commands under LVM2's names too, in place of LVM2
#   make deb                    Debian packages in target/debian (as any user)
#   make install BOOT=no        without what activates volumes by itself
#   make install PROGRAM=FILE   a program that is there already
#
# The program is linked statically, so that a worker that is started again needs nothing from a
# file system that may lie on a volume of ours. STATIC=no links it against the system's C library.

PREFIX      ?= /usr/local
SBINDIR     ?= $(PREFIX)/sbin
MANDIR      ?= $(PREFIX)/share/man
DOCDIR      ?= $(PREFIX)/share/doc/ulvm
SHAREDIR    ?= $(PREFIX)/share
UNITDIR     ?= $(PREFIX)/lib/systemd/system
UDEVDIR     ?= $(PREFIX)/lib/udev/rules.d
INITRAMFSDIR ?= $(SHAREDIR)/initramfs-tools
DRACUTDIR   ?= $(PREFIX)/lib/dracut/modules.d/90ulvm
LVM2_LINKS  ?= no
BOOT        ?= yes
STATIC      ?= yes
CARGO       ?= cargo

ifdef PROGRAM
# Given: nothing is built.
build:
else
ifeq ($(STATIC),yes)
HOST    := $(shell rustc -vV | sed -n 's/^host: //p')
# With a target named, the flags are not those of build scripts and macros, which load libraries.
TARGET  := --target $(HOST)
PROGRAM := target/$(HOST)/release/ulvm
build: export RUSTFLAGS := $(RUSTFLAGS) -C target-feature=+crt-static -C strip=debuginfo
else
PROGRAM := target/release/ulvm
endif
build:
	$(CARGO) build --release --locked $(TARGET)
endif

UNITS := $(wildcard dist/systemd/*)
RULES := $(wildcard dist/udev/*.rules)
ifneq ($(BOOT),yes)
# These activate and deactivate without being asked.
UNITS := $(filter-out dist/systemd/ulvm-%,$(UNITS))
RULES := $(filter-out dist/udev/69-ulvm.rules,$(RULES))
endif
LVM2  := $(wildcard dist/lvm2/*.conf)
DOCS  := README.md CHANGELOG.md LICENSE-APACHE LICENSE-MIT $(wildcard docs/*.md)

EXAMPLES := dist/example/ulvm.conf dist/lvm2/ulvm-filter.conf

.PHONY: build install install-program install-boot install-links deb

install: install-program $(if $(filter yes,$(BOOT)),install-boot) $(if $(filter yes,$(LVM2_LINKS)),install-links)

install-program: build
	install -D -m 0755 $(PROGRAM) $(DESTDIR)$(SBINDIR)/ulvm
	install -d $(DESTDIR)$(MANDIR)/man8
	$(PROGRAM) manpages $(DESTDIR)$(MANDIR)/man8 >/dev/null
	install -d $(DESTDIR)$(SHAREDIR)/bash-completion/completions
	$(PROGRAM) completions bash >$(DESTDIR)$(SHAREDIR)/bash-completion/completions/ulvm
	install -d $(DESTDIR)$(SHAREDIR)/zsh/site-functions
	$(PROGRAM) completions zsh >$(DESTDIR)$(SHAREDIR)/zsh/site-functions/_ulvm
	install -d $(DESTDIR)$(SHAREDIR)/fish/vendor_completions.d
	$(PROGRAM) completions fish >$(DESTDIR)$(SHAREDIR)/fish/vendor_completions.d/ulvm.fish
	install -d $(DESTDIR)$(DOCDIR)
	install -m 0644 $(DOCS) $(LVM2) $(DESTDIR)$(DOCDIR)
ifneq ($(UNITS),)
	install -d $(DESTDIR)$(UNITDIR)
	set -e; for unit in $(UNITS); do \
		sed 's,@SBINDIR@,$(SBINDIR),g' $$unit >$(DESTDIR)$(UNITDIR)/$${unit##*/}; \
	done
endif
ifneq ($(RULES),)
	install -d $(DESTDIR)$(UDEVDIR)
	set -e; for rules in $(RULES); do \
		sed 's,@SBINDIR@,$(SBINDIR),g' $$rules >$(DESTDIR)$(UDEVDIR)/$${rules##*/}; \
	done
endif
	install -d $(DESTDIR)$(DOCDIR)/examples
	install -m 0644 $(EXAMPLES) $(DESTDIR)$(DOCDIR)/examples

# What brings up the root file system: initramfs-tools' scripts and dracut's module; both use the same
# functions.
HOOKED := hooks/ulvm scripts/ulvm scripts/local-top/ulvm scripts/local-block/ulvm scripts/init-bottom/ulvm
install-boot: install-program
	set -e; for file in $(HOOKED); do \
		install -D -m 0755 dist/initramfs-tools/$$file $(DESTDIR)$(INITRAMFSDIR)/$$file; \
	done
	sed -i 's,@SBINDIR@,$(SBINDIR),g' $(DESTDIR)$(INITRAMFSDIR)/hooks/ulvm
	chmod 0644 $(DESTDIR)$(INITRAMFSDIR)/scripts/ulvm
	install -d $(DESTDIR)$(DRACUTDIR)
	install -m 0755 dist/dracut/90ulvm/*.sh $(DESTDIR)$(DRACUTDIR)
	install -m 0644 dist/initramfs-tools/scripts/ulvm $(DESTDIR)$(DRACUTDIR)/ulvm-functions.sh

# LVM2's commands are those that begin as its do; each has its page already. dmsetup is left alone:
# other programs may need the one that speaks to the kernel.
install-links: install-program
	set -e; cd $(DESTDIR)$(MANDIR)/man8; for page in ulvm-pv*.8 ulvm-vg*.8 ulvm-lv*.8; do \
		ln -sf $$page $${page#ulvm-}; \
		command=$${page#ulvm-}; ln -sf ulvm $(DESTDIR)$(SBINDIR)/$${command%.8}; \
	done
	ln -sf ulvm $(DESTDIR)$(SBINDIR)/lvm

deb:
	dist/debian/build target/debian
