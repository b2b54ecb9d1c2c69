package detect

import "strings"

// static recognises a site of plain files.
func (s source) static() (found, bool, error) {
	for _, root := range []string{".", "public"} {
		index := strings.TrimPrefix(root+"/index.html", "./")
		if !exists(s.tree, index) {
			continue
		}
		f := found{builder: "static", title: "Static", why: index, generated: staticDockerfile(root)}
		if root == "." {
			f.notices = []string{"Serving every file of the tree but hidden ones and Landward's own. Move the site to public/ to serve only that."}
		}
		return f, true, nil
	}
	return found{}, false, nil
}

// nginxConf serves /srv as a user that is not root, in an image whose root
// file system may be read-only. PORT is put in when the container starts.
const nginxConf = `worker_processes 1;
pid /tmp/nginx.pid;
error_log /dev/stderr warn;
events { worker_connections 1024; }
http {
    include /etc/nginx/mime.types;
    default_type application/octet-stream;
    access_log off;
    sendfile on;
    server_tokens off;
    absolute_redirect off;
    gzip on;
    gzip_types text/css text/plain application/javascript application/json image/svg+xml;
    client_body_temp_path /tmp/body;
    proxy_temp_path /tmp/proxy;
    fastcgi_temp_path /tmp/fastcgi;
    uwsgi_temp_path /tmp/uwsgi;
    scgi_temp_path /tmp/scgi;
    server {
        listen LISTEN_PORT;
        root /srv;
        log_not_found off;
        error_page 404 /404.html;
        location = /404.html { internal; }
        location ~ ^/\.(?!well-known/) { return 404; }
        location ~ ^/(Procfile|Dockerfile|app\.json|landward\.yaml)$ { return 404; }
        location / { try_files $uri $uri/ $uri.html =404; }
    }
}`

func staticDockerfile(root string) string {
	d := &dockerfile{}
	d.line("ARG NGINX_IMAGE=nginx:alpine")
	d.line("")
	d.line("FROM ${NGINX_IMAGE}")
	d.line("COPY <<'CONF' /etc/nginx/landward.conf")
	d.line("%s", nginxConf)
	d.line("CONF")
	d.line("COPY %s /srv", root)
	d.line("USER %s", appUser)
	d.line("ENTRYPOINT []")
	d.exec("/bin/sh", "-c", `sed "s/LISTEN_PORT/${PORT:-5000}/" /etc/nginx/landward.conf >/tmp/nginx.conf && `+
		`exec nginx -c /tmp/nginx.conf -g 'daemon off;'`)
	return d.String()
}
