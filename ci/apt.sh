# shellcheck shell=bash disable=SC2154
# Shared by the scripts that fetch Debian packages without installing them. Wants
# ci/lib.sh, and $work, a directory of the caller's that may be removed after it.

keyring=/usr/share/keyrings/debian-archive-keyring.gpg

# The archives the system uses: no name of a host is written here.
mirrors() {
	# shellcheck disable=SC2016 # apt expands these, not the shell
	apt-get indextargets --format '$(RELEASE) $(REPO_URI)' 'Created-By: Packages' 2>/dev/null |
		awk '$1 ~ /^(bookworm|trixie|stable|oldstable)(-updates|-backports)?\/?$/ && $2 !~ /^cdrom:/ && !seen[$2]++ { print $2 }'
}

# apt with lists, cache and sources of its own, and the system's settings for
# all else (proxies, for one). Its hooks are for the system's lists: left out.
apt_private() {
	APT_CONFIG=$work/apt/apt.conf "$@" >>"$work/apt/log" 2>&1 </dev/null
}

# setup_apt MIRROR SUITE [ARCHITECTURE]: of another architecture, no package counts
# as installed.
setup_apt() {
	local mirror=$1 suite=$2 architecture=${3-}
	mkdir -p "$work/apt/lists/partial" "$work/apt/cache/archives/partial"
	: >"$work/apt/log"
	say "deb [signed-by=$keyring] $mirror $suite main" >"$work/apt/sources.list"
	apt-config dump | grep -vE '^(APT::Update::P|DPkg::|APT::Default-Release)' >"$work/apt/apt.conf"
	cat >>"$work/apt/apt.conf" <<-END
		Dir::Etc::main "/dev/null";
		Dir::Etc::parts "/dev/null";
		Dir::Etc::sourcelist "$work/apt/sources.list";
		Dir::Etc::sourceparts "/dev/null";
		Dir::Etc::preferences "/dev/null";
		Dir::Etc::preferencesparts "/dev/null";
		Dir::State::lists "$work/apt/lists";
		Dir::Cache "$work/apt/cache";
		APT::Sandbox::User "$(id -un)";
		APT::Update::Error-Mode "any";
		Acquire::Languages "none";
		Acquire::Retries "2";
		Acquire::http::Timeout "30";
		Acquire::https::Timeout "30";
	END
	[[ $architecture ]] || return 0
	: >"$work/apt/status"
	cat >>"$work/apt/apt.conf" <<-END
		#clear APT::Architectures;
		APT::Architecture "$architecture";
		APT::Architectures { "$architecture"; };
		APT::Install-Recommends "false";
		Dir::State::status "$work/apt/status";
	END
}

apt_reason() {
	sed -n 's/^[EW]: *//p' "$work/apt/log" | head -n 1
}
