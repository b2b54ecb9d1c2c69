// Package failpoint names the places between two steps of a deployment where
// the fault suite kills the process. It is a leaf and does nothing unless the
// binary is built with the tag failpoints.
package failpoint

// Names are all the places, in the order in which a deployment passes them.
// The fault suite kills at each.
func Names() []string {
	return []string{
		"pipeline.submitted",  // the deployment is written, its source is not yet in place
		"pipeline.queued",     // both are
		"pipeline.checked",    // the plan is made
		"pipeline.built",      // the image exists, nobody has written so
		"pipeline.released",   // the release is written, the pipeline has not let go
		"reconcile.phase",     // the release command has ended, nobody has written so
		"reconcile.started",   // the first new container runs
		"reconcile.healthy",   // all new containers are healthy
		"reconcile.routed",    // the edge sends traffic to the new release, the database does not know
		"reconcile.committed", // the database knows, the old containers still run
		"reconcile.retiring",  // the old containers are drained, not removed
	}
}
