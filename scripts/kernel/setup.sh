# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-only OR MIT
#
# The kernels, a part of scripts/setup, which sources it. Everything of a release lies in one folder:
#
#   packages/       Debian's packages of the stock kernel, unpacked
#   source/         its source, as it came, for all flavours
#   stock-KEY/      the object tree for modules of the stock kernel
#   debug-KEY/      the object tree of a flavour that is built here, with lib/modules/RELEASE as the stock kernel has it
#   kcsan-KEY/      another one
#
# A stage that was finished leaves a file .done in its folder.

# in_root DIR COMMAND... runs a command in the root with DIR, and nothing of the checkout, at /kernel.
in_root() {
    local dir=$1
    shift
    MOORING_KERNEL_DIR=$dir MOORING_WRITABLE=1 "$SRC/scripts/enter" "$@"
}

newest_release() {
    # shellcheck disable=SC2016 # expanded by the shell in the root
    in_root "$CACHE/kernels" sh -ec '
        apt-cache pkgnames "linux-headers-$1." |
            sed -nE "s/^linux-headers-([0-9]+\.[0-9]+\.[0-9]+\+deb13-amd64)$/\1/p" | sort -V | tail -n 1' sh "$KERNEL_SERIES"
}

# The packages are unpacked, not installed: only their files are wanted, and this way every user can do it, and
# several releases can lie side by side.
fetch_kernel() {
    local release=$1 dir=$2
    # An earlier version of the set-up has left other files, and takes "release" for a sign that they are all there.
    rm -rf "$dir"/{packages,source,tree,debs,release,.fetched,.prepared}
    mkdir -p "$dir"/{debs,packages,source}
    # shellcheck disable=SC2016 # expanded by the shell in the root
    in_root "$dir" sh -ec '
        cd /kernel/debs
        apt-get -o APT::Sandbox::User=root download "linux-source-$1" \
            "linux-base-$2" "linux-binary-$2" "linux-headers-$2" "linux-modules-$2"
        for deb in *.deb; do echo "unpacking $deb"; dpkg-deb -x "$deb" /kernel/packages; done
        rm -rf /kernel/debs
        echo "unpacking the source"
        tar -C /kernel/source --strip-components=1 -xf "/kernel/packages/usr/src/linux-source-$1.tar.xz"
        rm "/kernel/packages/usr/src/linux-source-$1.tar.xz"' sh "$KERNEL_SERIES" "$release"
    touch "$dir/source/.done"
}

# Out-of-tree modules need the tree as the stock kernel was configured, with the generated Rust metadata, which
# Debian's headers packages do not carry.
prepare_stock() {
    local release=$1 tree=$2 dir=$3
    rm -rf "${dir:?}/$tree"
    mkdir "$dir/$tree"
    # shellcheck disable=SC2016 # expanded by the shell in the root
    in_root "$dir" sh -ec '
        cd "/kernel/$2"
        cp "/kernel/packages/usr/src/linux-headers-$1/.config" "/kernel/packages/usr/src/linux-headers-$1/Module.symvers" .
        make -C /kernel/source O="$PWD" -j"$(nproc)" CC=gcc-14 HOSTCC=gcc-14 KERNELRELEASE="$1" \
            olddefconfig prepare modules_prepare' sh "$release" "$tree"
    echo "$release" >"$dir/$tree/.release"
    touch "$dir/$tree/.done"
}

# build_flavour TREE DIR builds a kernel from our own configuration. Interrupted, it goes on where it was.
build_flavour() {
    local tree=$1 dir=$2
    mkdir -p "$dir/$tree"
    kernel_options "$KERNEL" >"$dir/$tree/.options"
    # shellcheck disable=SC2016 # expanded by the shell in the root
    in_root "$dir" sh -ec '
        cd "/kernel/$1"
        tree=$PWD
        build() { make -C /kernel/source O="$tree" LLVM=-19 -j"$(nproc)" "$@"; }
        build KCONFIG_ALLCONFIG="$tree/.options" allnoconfig
        # An option that another one forbids, or that is called otherwise by now, is dropped without a word.
        while IFS= read -r option; do
            case $option in
                *=n) ! grep -q "^${option%n}" .config ;;
                *) grep -qxF "$option" .config ;;
            esac || missing="$missing ${option%%=*}"
        done <.options
        [ -z "$missing" ] || { echo "error: the configuration does not accept:$missing" >&2; exit 1; }
        build bzImage modules
        build INSTALL_MOD_PATH="$tree" modules_install
        release=$(build -s kernelrelease)
        cp arch/x86/boot/bzImage "lib/modules/$release/vmlinuz"
        # Modules need none of the objects, which are most of the size.
        find . \( -name "*.[oa]" -o -name "vmlinux*" -o -name "bzImage" \) -not -path "./lib/modules/*" -delete
        echo "$release" >.release' sh "$tree"
    touch "$dir/$tree/.done"
}

# make_kernel UPDATE makes what is missing of the newest release that is here or, if UPDATE is "yes" or there is none, of
# the newest one of the archive.
make_kernel() {
    local update=$1 release dir tree log=$CACHE/logs
    if [ "$update" = yes ] || [ ! -e "$KERNEL_DIR/source/.done" ]; then
        mkdir -p "$CACHE/kernels"
        run_step "Reading the archive's package lists" 15 "$log/lists.log" \
            in_root "$CACHE/kernels" apt-get -o APT::Sandbox::User=root update
        release=$(newest_release)
        [ -n "$release" ] || die "the archive has no stock kernel of series $KERNEL_SERIES; is MIRROR=${MIRROR:-} complete and up to date?"
    else
        release=$(basename "$(readlink "$KERNEL_DIR")")
    fi
    dir=$CACHE/kernels/$release
    mkdir -p "$dir"
    [ -e "$dir/source/.done" ] || run_step "Fetching the stock kernel $release" 40 "$log/kernel-fetch.log" fetch_kernel "$release" "$dir"
    tree=$(kernel_tree stock)
    [ -e "$dir/$tree/.done" ] ||
        run_step "Preparing the kernel tree" 130 "$log/kernel-stock.log" prepare_stock "$release" "$tree" "$dir"
    # One rename switches to the new release, so that a reader never sees half a kernel.
    ln -sfn "kernels/$release" "$KERNEL_DIR.new"
    mv -T "$KERNEL_DIR.new" "$KERNEL_DIR"
    tree=$(kernel_tree "$KERNEL")
    [ -e "$dir/$tree/.done" ] ||
        run_step "Building the $KERNEL kernel" 700 "$log/kernel-$KERNEL.log" build_flavour "$tree" "$dir"
}
