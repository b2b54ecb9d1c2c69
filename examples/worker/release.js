// Runs once for each release, before it gets traffic: the place for migrations.
console.log(`release ${process.env.LANDWARD_RELEASE ?? "none"}: nothing to migrate`);
