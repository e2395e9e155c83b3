FROM python:3.11-slim
WORKDIR /srv/pressroom
COPY requirements.txt .
RUN pip install --no-cache-dir -r requirements.txt
COPY app app
COPY samples samples
COPY run.py .
RUN useradd --system pressroom \
 && mkdir -p uploads processed outputs .data \
 && chown pressroom uploads processed outputs .data
USER pressroom
EXPOSE 8000
CMD ["python", "run.py"]
