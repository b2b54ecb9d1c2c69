package cli

import "github.com/spf13/cobra"

// topics are help texts that are no commands: `landward help TOPIC`.
func topics() []*cobra.Command {
	return []*cobra.Command{
		{Use: "getting-started", Short: "From nothing to an app that answers", Long: gettingStarted},
		{Use: "landward.yaml", Short: "The file that says more than a Dockerfile can", Long: landwardYAML},
		{Use: "environment", Short: "Environment variables of this program and your app", Long: environment},
		{Use: "exit-codes", Short: "What the exit code of a command means", Long: exitCodes},
	}
}

const gettingStarted = `From nothing to an app that answers

1. On the server, start it. It prints a link that works once:

     sudo landward serve --domain apps.example.com --host apps.example.com

2. Log in with that link. As root on the server itself you need no login.

     landward bootstrap 'http://landward.apps.example.com/bootstrap#TOKEN'

3. Give yourself a key for git:

     landward keys add laptop < ~/.ssh/id_ed25519.pub

4. In the folder of your app:

     landward apps create blog
     landward git remote -a blog
     git push landward main

   The push shows each step and ends with the app's address. A Dockerfile is
   used as it is; without one, Go, Node, Python and static sites are
   recognised. ` + "`landward plan`" + ` shows what would happen and changes nothing.

5. No git? Send the folder, or an image:

     landward deploy -a blog
     landward deploy -a blog --image ghcr.io/you/blog:1.2
     docker save blog | landward deploy -a blog --image-archive -

6. From here on:

     landward logs -f              what the app says
     landward config set KEY=value a new release with the variable
     landward ps scale web=2       more of it
     landward releases             what was live when
     landward rollback             back to the release before
`

const landwardYAML = `landward.yaml lies in the root of your source. Every key is optional, and an
unknown key is refused with its line. ` + "`landward schema`" + ` prints the JSON Schema
for your editor.

    build:
      dockerfile: Dockerfile       # path, in the context
      target: runtime              # stage to build
      args: {VERSION: "1"}
      secrets: [NPM_TOKEN]         # variables of the app: landward config set --build
      context: .
    release: ./migrate up          # once per release, before traffic
    services:
      web:
        command: ./server
        port: 8080
        health: {path: /up, interval: 1s, timeout: 5s, grace: 30s}
        replicas: 2
        memory: 256M
        cpus: 0.5
      worker: {command: ./worker}
    cron:
      - {schedule: "0 3 * * *", command: ./cleanup, overlap: forbid}

What you set with ` + "`landward ps scale`, `limits set` and `health set`" + ` goes before
what the file says. A Procfile and an app.json are read too.
` + "`landward plan`" + ` shows what was understood.
`

const environment = `This program reads:

    LANDWARD_APP      the app, where neither -a nor a git remote names it
    LANDWARD_SERVER   the server's address, like --server
    LANDWARD_TOKEN    the token to use, like --token (and safer than it: other
                      users of a machine can see the arguments of a program)
    LANDWARD_DATA     the data folder of a server on this machine, like --data
    XDG_CONFIG_HOME   logins are kept in landward/hosts.json below it
    NO_COLOR          no colours, even on a terminal

The server takes each of its settings as a flag, as LANDWARD_NAME and as a key
of its YAML file: ` + "`landward serve --help`" + ` lists them.

Your app gets what ` + "`landward config set`" + ` says and:

    PORT              the port that the web process must listen on, on 0.0.0.0
    LANDWARD_APP      its name
    GIT_REV           the commit that it was built from, where it came by git

A variable that was set with --file is not in the environment: it is the file
/run/secrets/NAME.
`

const exitCodes = `    0    it worked
    1    it did not work: the deployment failed, the server refused
    2    the command was written wrongly
    3    there is no such app, release, key, ...
    4    you are not logged in, or may not do it
    5    the server does not answer
    130  interrupted; a deployment that you watched goes on

` + "`landward run` and `landward exec`" + ` end with the exit code of the command that
they ran.
`
