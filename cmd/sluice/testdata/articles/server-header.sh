curl -I http://127.0.0.1:9080 | grep Server
