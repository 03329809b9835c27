# SPDX-License-Identifier: GPL-2.0-or-later
#
# Functions that the shell scripts share.  Sourcing this file changes to the top
# folder of the repository.  If the first argument of the script is --help or -h,
# it prints the script's opening comment and exits instead.

set -euo pipefail
if [[ ${1-} == --help || ${1-} == -h ]]; then
    # The comment begins below the lines #!, SPDX and #.
    sed -n '4,/^$/s/^# \{0,1\}//p' "$0"
    exit
fi
# With it, cd goes to other folders, and prints where.
unset CDPATH
cd "$(dirname "$0")/.."
mkdir -p build

step() {
    echo "${0##*/}: $*"
}

fail() {
    echo "${0##*/}: $*" >&2
    exit 1
}

# need_absolute NAME VALUE: fail if the value of a variable is a relative path
need_absolute() {
    [[ $2 == /* ]] || fail "$1=$2: not an absolute path"
}

# need_space GIB: fail unless build/ has this much free space
need_space() {
    local free=$(($(stat -f -c '%a * %S' build) >> 20))
    ((free >= $1 << 10)) ||
        fail "build/ needs $1 GiB of free space and has $free MiB"
}

# quietly LOG COMMAND...: run the command and write its output to the log
quietly() {
    local log=$1
    shift
    "$@" >"$log" 2>&1 </dev/null
}

# reason LOG: print the line of a log that best explains a failure
reason() {
    grep -m1 -E '^[EW]: |[Ee]rror|ERROR|No space' "$1" || tail -n1 "$1"
}
