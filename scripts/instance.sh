# shellcheck shell=bash disable=SC2034 # the callers use the variables
# What up, down and purge share: where the instance of this checkout is, and
# whether it runs. Sourced, not run.

checkout=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
landward=$checkout/bin/landward
DATA=$(realpath -m -- "${DATA:-$checkout/.landward}")
pid_file=$DATA/landward.pid
log_file=$DATA/landward.log
demo=$DATA/demo # the demonstration's key and repository: made here, known to no server

say() { printf -- '-----> %s\n' "$*"; }
die() { printf ' !     %s\n' "$@" >&2; exit 1; }

# running prints the server's pid. The pid file alone proves nothing: after a
# reboot its number may be anybody's.
running() {
	local pid arguments
	pid=$(cat "$pid_file" 2>/dev/null) && [[ $pid =~ ^[0-9]+$ ]] || return 1
	arguments=$(tr '\0' ' ' 2>/dev/null <"/proc/$pid/cmdline") || return 1
	[[ $arguments == *" serve --data $DATA "* ]] || return 1
	printf '%s\n' "$pid"
}

# stop ends the server and waits for it. Nothing happens where none runs.
stop() {
	local pid end
	pid=$(running) || { rm -f "$pid_file"; return 0; }
	kill -TERM "$pid"
	end=$((SECONDS + 60))
	while running >/dev/null; do
		if ((SECONDS >= end)); then
			say "It does not end by itself: killing it"
			kill -KILL -- "-$pid" # it leads its own process group
			break
		fi
		sleep 0.1
	done
	rm -f "$pid_file"
}

# in_docker_group starts the calling script again with the rights of group
# docker where the user was added to it after logging in.
in_docker_group() {
	local socket=/var/run/docker.sock
	if [[ $EUID -eq 0 || ! -S $socket || -w $socket ]]; then return; fi
	[[ -z ${LANDWARD_REGROUPED:-} ]] || die "$(id -un) may not use $socket" "log out and in again, so that group docker counts"
	command -v sg >/dev/null || die "$(id -un) may not use $socket yet" "log out and in again, so that group docker counts"
	LANDWARD_REGROUPED=yes exec sg docker -c "$(printf '%q ' "$@")"
}
