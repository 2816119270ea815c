# Shared by the scripts here. Sets `cache`; see tests/guest/run for what is kept there.
cache=${ULVM_GUEST_CACHE:-${CARGO_TARGET_DIR:-$here/../../target}/guest}
case $cache in /*) ;; *) cache=$PWD/$cache ;; esac

# The answer where a guest cannot be run: the reason, and a code of its own.
cannot() { echo "not run: $*" >&2; exit 77; }

# fetch PACKAGE backports|stock: unpacks the package, or the one it stands for, into the current directory.
fetch() {
  local release archive key state apt package
  release=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
  archive=$(apt-get indextargets --format '$(REPO_URI) $(RELEASE)' 'Created-By: Packages' 2>/dev/null |
    awk -v r="$release" '$2 == r { print $1; exit }')
  [ -n "$archive" ] || cannot "apt knows no archive of the release '$release' (apt-get update?)"
  key=/usr/share/keyrings/debian-archive-keyring.gpg
  state=$cache/apt-$2
  mkdir -p "$state/lists/partial" "$state/archives/partial"
  case $2 in
    backports) echo "deb [signed-by=$key] $archive $release-backports main" ;;
    stock) echo "deb [signed-by=$key] $archive $release main" ;;
  esac >"$state/sources.list"
  apt=(-q -o Dir::Etc::sourcelist="$state/sources.list" -o Dir::Etc::sourceparts=/dev/null
    -o Dir::Etc::preferencesparts=/dev/null -o Dir::State::lists="$state/lists" -o Dir::Cache="$state"
    -o Dir::Cache::archives="$state/archives")
  [ "$(id -u)" != 0 ] || apt+=(-o APT::Sandbox::User=root)
  # One update serves every package wanted in the same day.
  if [ -z "$(find "$state/updated" -mmin -1440 2>/dev/null)" ]; then
    apt-get "${apt[@]}" update >"$state/log" 2>&1 && [ -n "$(ls "$state"/lists/*_Packages* 2>/dev/null)" ] ||
      cannot "the package lists of $2 could not be had: $(tail -n 1 "$state/log")"
    touch "$state/updated"
  fi
  package=$1
  if [ "$1" = linux-image-amd64 ]; then
    package=$(apt-cache "${apt[@]}" depends --important "$1" | awk '$1 == "Depends:" { print $2; exit }')
    [ -n "$package" ] || cannot "$2 has no package $1"
  fi
  apt-get "${apt[@]}" download "$package" >"$state/log" 2>&1 || cannot "$package could not be downloaded: $(tail -n 1 "$state/log")"
  dpkg -x "$package"_*.deb . && rm -f "$package"_*.deb || cannot "$package could not be unpacked"
}

# package NAMES PATH: prints where PATH of these packages is, unpacked together in the cache.
package() {
  local dir=$cache/package-$1
  mkdir -p "$cache" || cannot "cannot make $cache"
  (
    flock 9
    [ ! -e "$dir/ready" ] || exit 0
    rm -rf "$dir" && mkdir -p "$dir" && cd "$dir" || cannot "cannot write in $cache"
    for name in ${1//,/ }; do fetch "$name" stock; done
    touch ready
  ) 9>"$cache/lock-package" || return $?
  [ -e "$dir$2" ] || cannot "the package $1 has no $2"
  echo "$dir$2"
}
