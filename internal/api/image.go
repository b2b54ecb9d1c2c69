package api

import (
	"regexp"

	"landward/internal/landward"
)

// imageRef is the grammar of image references, as the OCI distribution
// specification and Docker have it: [host[:port]/]path[:tag][@digest].
var imageRef = regexp.MustCompile(`^(?:(?:[a-zA-Z0-9](?:[a-zA-Z0-9.-]*[a-zA-Z0-9])?)(?::[0-9]{1,5})?/)?` +
	`[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*` +
	`(?::[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(?:@sha256:[a-f0-9]{64})?$`)

func checkImageRef(ref string) error {
	if len(ref) <= 500 && (imageRef.MatchString(ref) || imageID.MatchString(ref)) {
		return nil
	}
	return landward.Invalid("ref", "%q is not an image reference", landward.Printable(ref)).
		WithHint("write it as for docker pull: ghcr.io/acme/shop:1.4")
}

// imageID is an image by its content address.
var imageID = regexp.MustCompile(`^sha256:[a-f0-9]{64}$`)
