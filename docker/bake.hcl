# SPDX-License-Identifier: ISC
# The image for several architectures: scripts/build-image --multi-arch NAME sets the variables.
variable "IMAGE" {}
variable "VERSION" {}
variable "REVISION" {}

target "default" {
  context   = "."
  platforms = ["linux/amd64", "linux/arm64"]
  args = {
    VERSION  = VERSION
    REVISION = REVISION
  }
  tags = [
    "${IMAGE}:${VERSION}",
    "${IMAGE}:${join(".", slice(split(".", VERSION), 0, 2))}",
    "${IMAGE}:latest",
  ]
}
