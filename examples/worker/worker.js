let jobs = 0;
const timer = setInterval(() => console.log(`job ${++jobs} done`), 5000);
console.log("waiting for jobs");

process.on("SIGTERM", () => {
  console.log(`stopping after ${jobs} jobs`);
  clearInterval(timer);
});
