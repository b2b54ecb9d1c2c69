// Runs once for each release, before it gets traffic: the place for migrations.
console.log(`commit ${process.env.GIT_REV ?? "none"}: nothing to migrate`);
