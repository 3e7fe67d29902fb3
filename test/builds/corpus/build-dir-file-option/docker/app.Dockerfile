FROM busybox:1
COPY src /src
