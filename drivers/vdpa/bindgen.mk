# SPDX-License-Identifier: GPL-2.0-only
#
# Rust bindings for the vDPA headers, which the kernel's own `bindings` crate leaves out.
#
# Everything about the bindgen command comes from the kernel's rust/Makefile, cut out at build time,
# so that the flags always fit the tree that the module is built against. Only size and offset
# assertions are put back: here bindgen meets structures that it did not generate itself.
#
# To be included by the Kbuild file of the crate's root; `vdpa-bindings` is what the root depends on.

vdpa-bindings := $(obj)/vdpa/bindings_generated.rs
vdpa-bindgen-mk := $(obj)/vdpa/.bindgen.mk

$(shell mkdir -p $(obj)/vdpa && \
	sed -n '/^ifdef CONFIG_CC_IS_CLANG/,/bindgen_target_cflags. .*bindgen_target_extra/p' \
		$(srctree)/rust/Makefile > $(vdpa-bindgen-mk))
include $(vdpa-bindgen-mk)
$(eval cmd_bindgen = $(subst --no-layout-tests,,$(value cmd_bindgen)))

$(vdpa-bindings): private bindgen_target_flags = \
	$(shell grep -Ev '^\#|^$$' $(srctree)/rust/bindgen_parameters) \
	$(shell grep -Ev '^\#|^$$' $(src)/vdpa/bindgen_parameters)
$(vdpa-bindings): $(src)/vdpa/bindings_helper.h $(src)/vdpa/bindgen_parameters FORCE
	$(call if_changed_dep,bindgen)

targets += vdpa/bindings_generated.rs
clean-files += vdpa/.bindgen.mk

# vdpa/bindings.rs finds the generated file, which lies in the build folder, through this variable.
export VDPA_BINDINGS := $(abspath $(vdpa-bindings))
