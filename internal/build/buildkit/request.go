package buildkit

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"strconv"
	"strings"

	"github.com/distribution/reference"

	"landward/internal/build"
	"landward/internal/landward"
)

// checkRequest refuses what no caller may ask for, whoever wrote the plan.
func checkRequest(req build.Request) error {
	if err := landward.CheckProcessName(req.Service); err != nil {
		return err
	}
	tag, err := reference.ParseNormalizedNamed(req.Tag)
	if err != nil || reference.IsNameOnly(tag) {
		return landward.Invalid("tag", "%q is not an image name with a tag", landward.Printable(req.Tag))
	}
	p := req.Plan
	if !cleanPath(p.Context, true) {
		return landward.Invalid("plan.context", "%q is not a path inside the source tree", landward.Printable(p.Context))
	}
	if !cleanPath(p.Dockerfile, p.Generated != "") {
		return landward.Invalid("plan.dockerfile", "%q is not a path inside the source tree", landward.Printable(p.Dockerfile))
	}
	for name := range p.Args {
		if landward.CheckVarName(name) != nil || strings.HasPrefix(name, "BUILDKIT_") {
			return landward.Invalid("plan.args", "%q cannot be a build argument", landward.Printable(name))
		}
	}
	for _, name := range p.Secrets {
		if _, ok := req.Secrets[name]; !ok {
			return landward.Errorf(landward.CodeFailed, "the build needs the secret %s, which has no value", landward.Printable(name)).
				WithHint("set it as a build secret: landward config set --build %s=...", landward.Printable(name))
		}
	}
	return nil
}

func cleanPath(p string, emptyOK bool) bool {
	if p == "" {
		return emptyOK
	}
	return fs.ValidPath(p)
}

// withDefaults fills the limits that are zero.
func withDefaults(l, d build.Limits) build.Limits {
	fill(&l.Memory, d.Memory)
	fill(&l.MilliCPU, d.MilliCPU)
	fill(&l.Pids, d.Pids)
	fill(&l.Timeout, d.Timeout)
	fill(&l.Disk, d.Disk)
	fill(&l.Context, d.Context)
	return l
}

func fill[T comparable](v *T, fallback T) {
	var zero T
	if *v == zero {
		*v = fallback
	}
}

// hostname is what the build's containers are called. It tells the warden whose
// they are. It is also part of BuildKit's cache key, so it is the same for all
// builds of a service at one trust level, and no two of those share results.
func (b *Builder) hostname(req build.Request) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%q %d %q %q", b.opt.Instance, req.AppID, req.Service, req.CacheScope))
	return "build-" + hex.EncodeToString(sum[:8])
}

// frontendAttrs says the request in the words of the Dockerfile frontend.
func frontendAttrs(req build.Request, limits build.Limits, host, dockerfile string) map[string]string {
	attrs := map[string]string{
		"filename": dockerfile,
		"hostname": host,
		// A frontend that has a command line already looks for no "# syntax="
		// line, so none is fetched; openContext has refused foreign ones.
		"cmdline":                           "docker/dockerfile",
		"build-arg:BUILDKIT_CACHE_MOUNT_NS": req.CacheScope,
	}
	if req.Plan.Target != "" {
		attrs["target"] = req.Plan.Target
	}
	if req.NoCache {
		attrs["no-cache"] = ""
	}
	for name, value := range req.Plan.Args {
		attrs["build-arg:"+name] = value
	}
	for name, value := range req.Labels {
		attrs["label:"+name] = value
	}
	// Engines that know these limits take them; for the others there is the
	// warden.
	if limits.Memory > 0 {
		attrs["memory"] = strconv.FormatInt(limits.Memory, 10)
		attrs["memswap"] = attrs["memory"]
	}
	if limits.MilliCPU > 0 {
		attrs["cpuperiod"] = strconv.Itoa(cpuPeriod)
		attrs["cpuquota"] = strconv.Itoa(limits.MilliCPU * cpuPeriod / 1000)
	}
	return attrs
}
